"""vLLM's own models with a connection beside their weights.

A class here adds a child module, `connection`, which vLLM's loader fills like any other, and the names of a layer's
blocks. The forward pass stays vLLM's, compiled and captured in graphs as ever; what is connected happens behind it, in
`model_runner`. Without compilation that pass is watched, which saves a reading.
"""

from contextlib import AbstractContextManager

from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.models.gemma3 import Gemma3ForCausalLM
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.mistral import MistralForCausalLM
from vllm.model_executor.models.qwen2 import Qwen2ForCausalLM
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM

from cc_tuning_vllm.connection import Connection
from cc_tuning_vllm.metrics import Meter
from cc_tuning_vllm.model_runner import connect_model_runner
from cc_tuning_vllm.rereading import Blocks, FirstReading, Rows, connected_states
from cc_tuning_vllm.settings import ConnectionSettings


class ConnectedModel(nn.Module):
    """The part that a vLLM model gets in front of it in the order of its classes."""

    blocks = Blocks()

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = vllm_config.model_config.hf_config
        settings = ConnectionSettings.read_from(config)
        self.connection = Connection(settings, config.num_hidden_layers, config.hidden_size)
        name = vllm_config.model_config.served_model_name
        self.meter = Meter.of_process(name, counts=get_tensor_model_parallel_rank() == 0)
        connect_model_runner()

    @property
    def runs_layer_by_layer(self) -> bool:
        """Whether a forward pass is Python that calls each layer, as it is without compilation."""
        return bool(getattr(self.get_submodule("model"), "do_not_compile", False))

    def first_reading(self, rows: Tensor, places: Tensor) -> AbstractContextManager[FirstReading]:
        """A block whose forward pass is the first reading of `rows [N]` of its batch, `rows[places]` being t* `[R]`."""
        return FirstReading().kept(self.get_submodule("model"), self.connection, self.blocks, rows, places)

    def connected_states(self, rows: Rows, first: FirstReading | None) -> Tensor:
        """The final hidden states `[N, D]` of the rows from t* on, with `v` added at t*."""
        decoder = self.get_submodule("model")
        return connected_states(decoder, self.connection, self.blocks, rows, first)


class CcTuningLlamaForCausalLM(ConnectedModel, LlamaForCausalLM):
    """Llama."""


class CcTuningQwen2ForCausalLM(ConnectedModel, Qwen2ForCausalLM):
    """Qwen 2 and 2.5."""


class CcTuningQwen3ForCausalLM(ConnectedModel, Qwen3ForCausalLM):
    """Qwen 3."""


class CcTuningMistralForCausalLM(ConnectedModel, MistralForCausalLM):
    """Mistral."""


class CcTuningGemma3ForCausalLM(ConnectedModel, Gemma3ForCausalLM):
    """Gemma 3, text alone."""

    blocks = Blocks(after_attention="post_attention_layernorm", after_ffn="post_feedforward_layernorm")
