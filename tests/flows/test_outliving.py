"""A run whose worker died: what it prints goes nowhere, and is no error."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from cc_tuning.model.checkpoint import read_base_model

PRINTING = """
import sys, time
from pathlib import Path
from flows.outliving import forget_unread_output
{prepare}
print("started", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
time.sleep(0.2)
for line in range(3):
    print("a line", flush=True)
    print("a line", file=sys.stderr, flush=True)
Path(sys.argv[2]).write_text("to its end")
"""


@pytest.mark.parametrize(
    ("prepare", "code"), [("forget_unread_output((1, 2))", 0), ("", 1)], ids=["prepared", "unprepared"]
)
def test_a_process_whose_output_nobody_reads_any_more_goes_on(tmp_path: Path, prepare: str, code: int) -> None:
    gone, end = tmp_path / "gone", tmp_path / "end"
    running = subprocess.Popen(
        [sys.executable, "-c", PRINTING.format(prepare=prepare), str(gone), str(end)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None and running.stderr is not None
    assert running.stdout.readline() == "started\n"
    running.stdout.close()
    running.stderr.close()
    gone.touch()
    assert running.wait(60) == code
    assert end.exists() == (not code)


def test_output_that_is_read_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    program = PRINTING.format(prepare="forget_unread_output((1, 2))")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "gone"), str(tmp_path / "end")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["started", *["a line"] * 3]
    assert done.stderr.splitlines() == ["a line"] * 3


def test_a_broken_pipe_while_a_model_is_loaded_is_not_taken_for_damaged_weights(
    tiny_llama_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def print_to_nobody(*_arguments: object, **_named: object) -> None:
        raise BrokenPipeError("Broken pipe")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", print_to_nobody)
    with pytest.raises(BrokenPipeError):
        read_base_model(tiny_llama_directory, torch.float32)
