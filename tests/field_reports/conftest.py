"""A copy of the reported inputs for each test."""

from pathlib import Path

import pytest

from tests.field_reports.reported import Reported, copied


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reported:
    """The working directory is a copy of the inputs; `TMP` of a command is `scratch`."""
    folder = copied(tmp_path / "field_reports")
    monkeypatch.chdir(folder)
    return Reported(folder, tmp_path, lambda: tuple(capsys.readouterr()))
