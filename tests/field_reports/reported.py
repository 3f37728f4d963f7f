"""The small inputs made after what people reported about other tools, and the command line on them.

They lie in `shared/field_reports` beside the project; where that is not there, the tests say so and are skipped.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.cli import app
from flows.terminal import exit_code_of

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "field_reports"
needs_reports = pytest.mark.skipif(not REPORTS.is_dir(), reason=f"{REPORTS} is not here")


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code and all that it printed, on one line."""

    code: int
    text: str


@dataclass(frozen=True)
class Reported:
    """A copy of the inputs, and commands run in it as in a terminal."""

    folder: Path
    scratch: Path
    read: Callable[[], tuple[str, str]]

    def run(self, command: str, *overrides: str, run: str = "") -> Said:
        """`cc-tuning COMMAND tiny.yaml` with keys set, in this process; with a store of its own unless one is set."""
        places = {"execution.store": self.scratch / "store", "execution.output": self.scratch / "out"}
        keys = [*(f"{key}={place}" for key, place in places.items()), *overrides]
        arguments = [command, "tiny.yaml", *(part for key in keys for part in ("--set", key))]
        return self.call(*arguments, *(["--run", run] if run else []))

    def call(self, *arguments: str) -> Said:
        """`cc-tuning ARGUMENTS`, in this process."""
        self.read()
        code = exit_code_of(lambda: app(list(arguments)))
        out, err = self.read()
        return Said(code, " ".join((out + err).split()))

    def base(self, **parts: str) -> str:
        """The override of a copy of the base model in which files are replaced: `config="parts/config_4bit.json"`.

        Files are named by their stems.
        """
        model = self.scratch / "m"
        shutil.copytree(self.folder / "tiny_base", model, dirs_exist_ok=True)
        for stem, part in parts.items():
            (target,) = {*model.glob(f"{stem}.*"), model / f"{stem}{Path(part).suffix}"}
            shutil.copyfile(self.folder / part, target)
        return f"model.base={model}"

    def artifact(self, stage: str, store: str = "store") -> Path:
        """The folder of the one finished artifact of a stage."""
        (folder,) = [path for path in (self.scratch / store / stage).iterdir() if (path / "manifest.json").is_file()]
        return folder


def copied(folder: Path) -> Path:
    """The inputs in a folder that may be changed."""
    shutil.copytree(REPORTS, folder, copy_function=shutil.copyfile)
    return folder


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
