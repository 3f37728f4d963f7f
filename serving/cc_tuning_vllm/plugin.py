"""The entry point: what vLLM gets to know in each of its processes.

vLLM calls `register` at the start of the front end, of the engine's core and of every worker. It may be called more
than once.
"""

from collections.abc import Mapping
from types import MappingProxyType

ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        name: f"cc_tuning_vllm.models:{name}"
        for name in (
            "CcTuningLlamaForCausalLM",
            "CcTuningQwen2ForCausalLM",
            "CcTuningQwen3ForCausalLM",
            "CcTuningMistralForCausalLM",
            "CcTuningGemma3ForCausalLM",
        )
    }
)
"""What an exported `config.json` can name, and where the class is."""


def register() -> None:
    """Make the architectures known, and watch the places where a connection matters outside of the model."""
    # Not at the top: the table above is read without vLLM, and its modules are large.
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from cc_tuning_vllm.entrance import watch_entrance
    from cc_tuning_vllm.prefix_cache import key_blocks_by_connection
    from cc_tuning_vllm.refusals import ConnectedConfig, keep_to_first_runner

    for name, place in ARCHITECTURES.items():
        ModelRegistry.register_model(name, place)
        MODELS_CONFIG_MAP[name] = ConnectedConfig
    watch_entrance()
    key_blocks_by_connection()
    keep_to_first_runner()
