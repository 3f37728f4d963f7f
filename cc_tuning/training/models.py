"""The model of a training job: the base model, an adapter on it if asked for, and the connection around both."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.checkpoint import downloaded_model, read_base_model
from cc_tuning.training.job import TrainingJob

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class JobModel:
    """What is trained. The Trainer sees `trained`: the base model itself, or a `CrossLingualModel` around it."""

    trained: nn.Module
    base: PreTrainedModel  # with the adapter's layers inside, where there is one
    adapter: "PeftModel | None"  # the handle to save it and to merge it

    @property
    def connection(self) -> CrossLingualModel | None:
        """The model with its connection, for CC-Tuning."""
        return self.trained if isinstance(self.trained, CrossLingualModel) else None


def build_model(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> JobModel:
    """A model to train, its new weights drawn from torch's generator.

    Raises:
        UnsupportedModel: the base model cannot be downloaded, or token ids would fall outside its embedding.
        ArtifactMismatch: its files are missing or damaged.
        ConfigError: an adapter is asked for and peft is not installed, or has no such layers to adapt.
    """
    base = load_base(job, tokenizer)
    adapter = _adapted(base, job) if job.config.training.lora.rank else None
    connection = job.config.connection
    trained = base if connection is None else CrossLingualModel.from_base(base, connection)
    return JobModel(trained, base, adapter)


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
    if len(tokenizer) > embedded:
        raise UnsupportedModel(
            f"the tokenizer has {len(tokenizer)} tokens, the base model {job.base} embeds {embedded}; use the "
            "tokenizer of this model"
        )
    return base


def _adapted(base: PreTrainedModel, job: TrainingJob) -> "PeftModel":
    if find_spec("peft") is None:
        raise ConfigError(
            f"training.lora.rank is {job.config.training.lora.rank}, but peft is not installed; install it with "
            "`pip install 'cc-tuning[lora]'`, or set training.lora.rank to 0"
        )
    from cc_tuning.training.adapter import with_adapter  # the `lora` extra

    return with_adapter(base, job.config.training.lora)
