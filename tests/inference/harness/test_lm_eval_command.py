"""`cc-tuning lm-eval`: lm-eval's own command, which knows the model `cc_tuning`."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from cc_tuning.errors import ConfigError
from cc_tuning.inference.harness.command import run_lm_eval
from tests.checkpoints import save_connected_checkpoint
from tests.inference.harness.local_tasks import CHOICES, write_tasks

ROOT = Path(__file__).resolve().parents[2]
needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs the extra lmeval")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-m", "flows.cli", "lm-eval", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@needs_lm_eval
def test_lm_evals_arguments_reach_it_and_its_results_are_written(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    checkpoint = save_connected_checkpoint(tmp_path / "checkpoint", tiny_llama_directory, tiny_tokenizer)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    write_tasks(tasks, items=6)
    done = run_command(
        "--model", "cc_tuning", "--model_args", f"checkpoint={checkpoint},connection=identity,dtype=float32",
        "--tasks", CHOICES, "--include_path", str(tasks), "--device", "cpu", "--batch_size", "2", "--limit", "4",
        "--apply_chat_template", "--output_path", str(tmp_path / "results"), "--log_samples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "|acc_norm|" in done.stdout.replace(" ", "")
    (written,) = (tmp_path / "results").rglob("results_*.json")
    results = json.loads(written.read_text())
    assert results["config"]["cc_tuning_connection"] == "identity"
    assert results["n-samples"][CHOICES] == {"original": 6, "effective": 4}
    assert "<|start_header_id|>" in results["chat_template"]


@needs_lm_eval
def test_a_mistake_is_one_line_and_help_is_lm_evals(tmp_path: Path) -> None:
    helped = run_command("--help")
    assert helped.returncode == 0
    assert "Language Model Evaluation Harness" in helped.stdout
    (tmp_path / "tasks").mkdir()
    write_tasks(tmp_path / "tasks", items=1)
    done = run_command(
        "--model", "cc_tuning", "--model_args", f"checkpoint={tmp_path},connection=parallel",
        "--tasks", CHOICES, "--include_path", str(tmp_path / "tasks"),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: connection=parallel cannot be used in lm-eval")


def test_without_lm_eval_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'cc-tuning\[lmeval\]'"):
        run_lm_eval(["--help"])
