"""The model of a training job: the base model, what of it trains, the connection around it, and its compiled blocks."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model.checkpoint import downloaded_model, read_base_model
from cc_tuning.model.connection import CrossLingualModel
from cc_tuning.model.families import find_components
from cc_tuning.text.prompts import embeddings_needed
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.objectives.table import OBJECTIVES

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class JobModel:
    """What is trained. The Trainer sees `trained`: the base model itself, or the connected model around it."""

    trained: nn.Module
    base: PreTrainedModel  # with the adapter's layers inside, where there is one
    adapter: "PeftModel | None"  # the handle to save it and to merge it
    connected: CrossLingualModel | None


def build_model(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> JobModel:
    """A model to train, its new weights drawn from torch's generator.

    Raises:
        UnsupportedModel: the base model cannot be downloaded, token ids would fall outside its embedding, or its family
            is unknown and a connection or the objective asks for its parts.
        ArtifactMismatch: its files are missing or damaged.
        ConfigError: an adapter is asked for and peft is not installed, or has no such layers to adapt.
    """
    base = load_base(job, tokenizer)
    adapter = _adapted(base, job) if job.config.training.lora.rank else None
    if OBJECTIVES[job.config.objective].trained == "attention":
        train_attention_alone(base)
    if job.config.connection is None:
        return JobModel(base, base, adapter, None)
    connected = CrossLingualModel.from_base(base, job.config.connection)
    return JobModel(connected, base, adapter, connected)


def train_attention_alone(base: PreTrainedModel) -> None:
    """Leave a gradient to the weights of each layer's attention block only, its own norms and biases included.

    Raises:
        UnsupportedModel: the model's family is unknown.
    """
    base.requires_grad_(False)
    for attention in find_components(base).attentions:
        attention.requires_grad_(True)


def trained_share(model: nn.Module) -> float:
    """Of the weights, those with a gradient; ZeRO-3 leaves `ds_numel` on one that is elsewhere."""
    sizes = [(getattr(weight, "ds_numel", weight.numel()), weight.requires_grad) for weight in model.parameters()]
    return sum(size for size, is_trained in sizes if is_trained) / max(sum(size for size, _ in sizes), 1)


def load_base(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The base model with float32 weights; `training.dtype` bfloat16 is autocast over them.

    Under an adapter its weights do not change, so nothing is lost when they are held in `training.dtype`.

    Raises:
        UnsupportedModel: it cannot be downloaded, or token ids would fall outside its embedding.
        ArtifactMismatch: its files are missing or damaged.
    """
    training = job.config.training
    dtype = getattr(torch, training.dtype) if training.lora.rank else torch.float32
    base = read_base_model(downloaded_model(job.base, job.base_revision), dtype, job.execution.attention)
    embedding: Any = base.get_input_embeddings()  # its weight may be sharded already, its size is not
    embedded: int = embedding.num_embeddings
    if (needed := embeddings_needed(tokenizer)) > embedded:
        raise UnsupportedModel(
            f"the tokenizer has {needed} tokens, the base model {job.base} embeds {embedded}; use the "
            "tokenizer of this model"
        )
    return base


def _adapted(base: PreTrainedModel, job: TrainingJob) -> "PeftModel":
    if find_spec("peft") is None:
        raise ConfigError(
            f"training.lora.rank is {job.config.training.lora.rank}, but peft is not installed; install it with "
            "`pip install 'cc-tuning[lora]'`, or set training.lora.rank to 0"
        )
    from cc_tuning.training.lora import with_adapter  # the `lora` extra

    return with_adapter(base, job.config.training.lora)


def compile_blocks(base: PreTrainedModel, backend: str = "inductor") -> None:
    """Compile `forward` of each child of each decoder layer in place; lengths may vary without a new graph.

    A layer's attention, feed-forward block and norms are compiled, the layer and what hooks do on its parts are not:
    hooks come and go with every pass (English, connected), and inside a compiled region each new one would either be
    ignored or compile everything again. The residual sums between the blocks stay as they are.
    """
    for layer in _decoder_layers(base):
        for block in layer.children():
            block.forward = torch.compile(block.forward, backend=backend, dynamic=True)


def _decoder_layers(base: PreTrainedModel) -> list[nn.Module]:
    names = set(base._no_split_modules or ())
    return [module for module in base.modules() if type(module).__name__ in names]
