"""A tiny CC-tuned checkpoint for the transform stage."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from tests.checkpoints import save_connected_checkpoint


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> Path:
    """Three layers, hidden size 32."""
    folder = tmp_path_factory.mktemp("transform") / "checkpoint"
    return save_connected_checkpoint(folder, tiny_llama_directory, tiny_tokenizer)
