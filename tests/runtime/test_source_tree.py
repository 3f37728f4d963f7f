"""What is derived from where the source lies: the recorded commit, and what worker processes import."""

import os
import subprocess
from pathlib import Path

import pytest

import cc_tuning
from cc_tuning.runtime.provenance import source_commit
from cc_tuning.runtime.subprocesses import python_path

ROOT = Path(cc_tuning.__file__ or "").resolve().parents[1]


def test_recorded_commit_is_that_of_the_checkout() -> None:
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("the source is not a git checkout")
    assert source_commit().removesuffix("+changes") == head.stdout.strip()


def test_worker_imports_the_package_its_parent_imports() -> None:
    assert python_path().split(os.pathsep)[0] == str(ROOT)
