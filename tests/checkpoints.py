"""Checkpoint directories as training leaves them, with random weights."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.text.prompts import ChatPrompts


def save_plain_checkpoint(folder: Path, base: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A fine-tuned model without a connection."""
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_connected_checkpoint(
    folder: Path, base: Path, tokenizer: PreTrainedTokenizerBase, connection: ConnectionConfig | None = None
) -> Path:
    """A CC-tuned model whose connection changes its answers: its Decision Maker and embeddings are far from zero."""
    torch.manual_seed(1)
    model = CrossLingualModel.from_base(AutoModelForCausalLM.from_pretrained(base), connection or ConnectionConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder, stop_token_ids=ChatPrompts(tokenizer).stop_token_ids)
    tokenizer.save_pretrained(folder)
    return folder


def save_matrix(path: Path, matrix: torch.Tensor) -> Path:
    """The file of a transform artifact."""
    save_file({"transform_matrix": matrix.float().contiguous()}, path)
    return path
