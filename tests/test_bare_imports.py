"""Model, prompts and fit run where nothing is installed but torch, transformers and what those bring."""

import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_method_needs_no_package_of_the_data_side(tiny_llama_directory: Path) -> None:
    command = [sys.executable, "-m", "tests.bare_interpreter", "tests.bare_use", str(tiny_llama_directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert math.isfinite(result["loss"])
    assert (result["new_tokens"], result["rows"]) == (3, 3)
