"""What a command loads before it answers: a fresh interpreter runs it, and is asked which modules it has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cc_tuning.text.prompts import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
SMALLEST = "tests/flows/smallest.yaml"
HEAVY = ("torch", "transformers", "prefect", "nltk", "matplotlib")
RUN = """
import json, sys
from flows.cli import main
sys.argv = ["cc-tuning", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    code = stop.code
with open({report!r}, "w") as file:
    json.dump({{"code": code, "modules": sorted(sys.modules)}}, file)
"""


def run_fresh(folder: Path, *arguments: str, **variables: str) -> tuple[set[str], str]:
    """The top-level modules that a command has loaded when it ends well, and what it printed."""
    report = folder / "report.json"
    result = subprocess.run(
        [sys.executable, "-c", RUN.format(report=str(report)), *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(report.read_text())
    assert not told["code"], result.stderr
    return {module.partition(".")[0] for module in told["modules"]}, result.stdout


@pytest.fixture
def tiny_checkpoint(tmp_path: Path, tiny_llama_directory: Path) -> Path:
    """The directory of a small model whose tokenizer has a chat template."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in tiny_llama_directory.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    load_tokenizer(tiny_llama_directory, "llama3").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["plan", SMALLEST], ["status", SMALLEST]],
    ids=["help", "help of a stage", "plan", "status"],
)
def test_asking_loads_nothing_that_computes(tmp_path: Path, arguments: list[str]) -> None:
    if SMALLEST in arguments:
        arguments = [*arguments, "--set", f"execution.store={tmp_path / 'store'}"]
    modules, printed = run_fresh(tmp_path, *arguments)
    assert printed
    assert not modules & set(HEAVY)


def test_help_and_completion_load_no_table_library(tmp_path: Path) -> None:
    tables = {"polars", "pyarrow", "dataframely", "numpy"}
    assert not run_fresh(tmp_path, "--help")[0] & tables
    completing = {"_CC_TUNING_COMPLETE": "complete_bash", "COMP_WORDS": "cc-tuning tr", "COMP_CWORD": "1"}
    modules, printed = run_fresh(tmp_path, **completing)
    assert printed.split() == ["translate", "train", "transform", "train-job"]
    assert not modules & (tables | set(HEAVY))


def test_the_shells_completion_script_asks_the_command(tmp_path: Path) -> None:
    # Typer looks at the parent process for the shell; this variable makes it ask for its name instead.
    _, script = run_fresh(tmp_path, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_CC_TUNING_COMPLETE=complete_bash" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_generate_loads_no_prefect_and_no_plots(tmp_path: Path, tiny_checkpoint: Path) -> None:
    modules, printed = run_fresh(
        tmp_path, "generate", str(tiny_checkpoint), "Habari", "--max-new-tokens", "2", "--connection", "off"
    )
    assert printed.endswith("\n")
    assert "torch" in modules
    assert not modules & {"prefect", "matplotlib", "nltk", "polars", "pyarrow", "dataframely"}
