"""The command for a lent GPU, in miniature on a CPU: every part runs, and none can take the time of the others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
PARTS = ("parity", "training", "generation", "translation", "fit", "likelihood")
CAPITALS = {"Kenya": "Nairobi", "Ghana": "Accra", "Peru": "Lima", "Mali": "Bamako"}


def command(*arguments: object) -> dict[str, Any]:
    """How `subprocess` runs the script in miniature, on the CPU, without this test's import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        "args": [sys.executable, str(SCRIPT), "--shape", "tiny", *map(str, arguments)],
        "env": {**environment, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        "text": True,
    }


def run(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The script to its end."""
    return subprocess.run(**command(*arguments), capture_output=True, cwd=folder)


def written_rows(path: Path) -> Path:
    """A file of rows for the part `likelihood`."""
    rows = [
        {
            "prompt": f"Mji mkuu wa {country} ni upi? ({n})",
            "response": city,
            "english_prompt": f"The capital of {country}?",
        }
        for n in range(6)
        for country, city in CAPITALS.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_every_part_runs_in_miniature(tmp_path: Path, tiny_llama_directory: Path) -> None:
    rows = written_rows(tmp_path / "rows.jsonl")
    model = ["--model", tiny_llama_directory, "--rows", rows, "--chat-template", "llama3"]
    (tmp_path / "enum.py").write_text("raise ImportError('a file that only lies in the working directory')")
    done = run("--output", tmp_path / "figures", *model, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in PARTS:
        content = json.loads((tmp_path / "figures" / f"{part}.json").read_text(encoding="utf-8"))
        assert {"card", "torch", "transformers"} <= content["machine"].keys()
        assert content["rows"]
        assert not [row for row in content["rows"] if "error" in row or row.get("holds") is False]


def test_part_at_its_limit_is_killed_and_the_next_one_has_its_turn(tmp_path: Path) -> None:
    done = run("--only", "training", "fit", "--minutes", "0.002", "--output", tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("killed at its limit") == 4  # each when it happens, and in the list at the end


def test_ended_runner_leaves_no_part_behind(tmp_path: Path) -> None:
    with subprocess.Popen(**command("--only", "fit", "--output", tmp_path), stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None and runner.stdout.readline().startswith("== fit")
        while not (parts := psutil.Process(runner.pid).children()):
            time.sleep(0.02)
        runner.terminate()
        assert runner.wait() == 128 + signal.SIGTERM
    # The kernel ends a part when its parent is gone, which takes a moment on a busy machine.
    _, left = psutil.wait_procs(parts, timeout=60)
    assert not left


def test_model_without_rows_is_refused(tmp_path: Path) -> None:
    done = run("--model", tmp_path)
    assert done.returncode != 0
    assert "--model and --rows go together" in done.stderr
