"""One tiny translator of each family for all tests of this folder; making them takes seconds."""

from pathlib import Path

import pytest
import torch
from tiny_m2m100 import save_tiny_m2m100
from tiny_nllb import save_tiny_nllb


@pytest.fixture(scope="session")
def tiny_nllb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory that must not be changed; copy it first."""
    torch.set_num_threads(1)
    return save_tiny_nllb(tmp_path_factory.mktemp("tiny_nllb"), steps=250)


@pytest.fixture(scope="session")
def tiny_m2m100_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory that must not be changed; copy it first."""
    torch.set_num_threads(1)
    return save_tiny_m2m100(tmp_path_factory.mktemp("tiny_m2m100"), steps=250)
