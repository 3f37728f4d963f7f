"""The command line: a mistake is one line and exit code 2, and what a command prints is true."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app, main

SMALLEST = Path(__file__).parent / "smallest.yaml"


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cc-tuning", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "nowhere.yaml"], "nowhere.yaml: the recipe cannot be read"),
        (["plan", str(SMALLEST), "--set", "trainin.epochs=1"], "did you mean `training`?"),
        (["train", str(SMALLEST), "--run", "cc-tuning+mt"], "no run 'cc-tuning+mt'"),
        (["train-job", str(SMALLEST), "--run", "ml-sft", "--set", "seeds=[3, 4]"], "a job is one training: ml-sft"),
        (["select", str(SMALLEST), "--set", "data.source=nowhere.parquet"], "nowhere.parquet does not exist"),
        (["generate", "nowhere", "x"], "is not a directory"),
        (["generate", ".", "x"], "is not a model directory"),
        (["generate", ".", "x", "--connection", "loud"], "expected one of transform, parallel, off"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run_main(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert printed.err.strip().count("\n") == 0


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cc-tuning", "--debug", "plan", "nowhere.yaml"])
    with pytest.raises(Exception, match="cannot be read"):
        main()


def test_a_stage_runs_what_it_needs_then_finds_it_and_again_makes_only_itself(tmp_path: Path) -> None:
    command = ["select", str(SMALLEST), "--set", f"execution.store={tmp_path}"]
    runner = CliRunner()
    first = runner.invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "world: cached" not in first.output and "select: cached" not in first.output
    second = runner.invoke(app, command)
    assert "world: cached" in second.output and "select: cached" in second.output
    third = runner.invoke(app, [*command, "--again"])
    assert "world: cached" in third.output and "select: cached" not in third.output


def test_status_tells_whole_damaged_and_missing_apart(tmp_path: Path) -> None:
    options = [str(SMALLEST), "--set", f"execution.store={tmp_path}"]
    runner = CliRunner(env={"COLUMNS": "300"})
    assert runner.invoke(app, ["select", *options]).exit_code == 0
    next(tmp_path.glob("select/*/rows.parquet")).write_bytes(b"")
    output = runner.invoke(app, ["status", *options]).output
    states = {line.split("  ")[0].strip(): line for line in output.splitlines()}
    assert "whole" in states["world"]
    assert "damaged" in states["select"]
    assert "rows.parquet has 0 bytes, its manifest says" in output
    assert "missing" in states["translate"]


def test_plan_shows_hits_and_misses_and_computes_nothing(tmp_path: Path) -> None:
    options = [str(SMALLEST), "--set", f"execution.store={tmp_path / 'store'}"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["plan", *options])
    assert result.exit_code == 0, result.output
    assert "  hit  " not in result.output and result.output.count("  miss  ") == 12
    assert not (tmp_path / "store").exists()


def test_doctor_speaks_plainly() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "Python" in result.output and "quickstart" in result.output


def test_doctor_names_extras_proxies_and_paths_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PREFECT_API_URL", "http://[::1]:4200/api")
    assert run_main(monkeypatch, "doctor") == 0
    said = capsys.readouterr().out
    assert "https_proxy set" in said
    assert "the server at http://[::1]:4200/api" in said
    for module in ("ctranslate2", "ray", "peft", "deepspeed", "lm_eval", "gguf"):
        assert f"{module} installed" in said or f"{module} not installed (extra `" in said
