"""What a manifest says about the code that made it."""

import subprocess
from pathlib import Path

import pytest

from cc_tuning.runtime.provenance import source_commit

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_the_commit_is_that_of_the_checkout() -> None:
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert source_commit().removesuffix("+changes") == head
