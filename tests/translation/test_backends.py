"""The engine is chosen by the recipe, and an engine that is not installed is named with its extra."""

import sys
from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import LocalSource, Location
from cc_tuning.runtime.stage_table import TRANSLATE
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.config import TranslationConfig


def test_engine_that_is_not_installed_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the model is looked for: there is none in this folder."""
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ConfigError, match=r"not installed; install it with `pip install 'cc-tuning\[ct2\]'`"):
        load_translator(Location(str(tmp_path)), TranslationConfig(engine="ctranslate2"), Execution())


def test_engine_is_part_of_the_identity_of_translations(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("rows and model")
    source = LocalSource.of(tmp_path / "some.txt")
    steps = [
        TRANSLATE.step(TranslationConfig(engine=engine), rows=source, translator=source)
        for engine in ("transformers", "ctranslate2")
    ]
    assert steps[0].fingerprint != steps[1].fingerprint
    assert steps[0].fingerprint == TRANSLATE.step(TranslationConfig(), rows=source, translator=source).fingerprint
