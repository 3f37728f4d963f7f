"""What a connected model cannot be served with, refused by name before anything is loaded.

vLLM calls `verify_and_update_config` of an architecture while it puts a configuration together.
"""

from collections.abc import Iterator
from typing import Any

from vllm import __version__
from vllm.config import VllmConfig
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from cc_tuning_vllm.entrance import is_connected
from cc_tuning_vllm.patching import replace_once
from cc_tuning_vllm.settings import ConnectionSettings

TESTED = ("0.32.0",)
"""Versions of vLLM that the tests ran on; `+cpu` and the like count as the same."""


class ConnectedConfig(VerifyAndUpdateConfig):
    """The checks of a configuration with a connected model."""

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: names all that is refused, or says what is wrong with the directory.
        """
        if __version__.partition("+")[0] not in TESTED:
            raise ValueError(
                f"cc-tuning-vllm was tested with vLLM {', '.join(TESTED)} and this is {__version__}; it reaches into "
                "vLLM where no interface is promised. Install a tested version"
            )
        ConnectionSettings.read_from(vllm_config.model_config.hf_config)
        if refused := list(_refused(vllm_config)):
            raise ValueError(
                f"a model with a cross-lingual connection cannot be served with {'; '.join(refused)}. Leave the "
                "options out (docs/serving.md of CC-Tuning says why)"
            )


def _refused(config: Any) -> Iterator[str]:
    parallel, model = config.parallel_config, config.model_config
    if parallel.pipeline_parallel_size > 1:
        yield f"pipeline parallelism (pipeline_parallel_size {parallel.pipeline_parallel_size})"
    if parallel.decode_context_parallel_size > 1 or parallel.prefill_context_parallel_size > 1:
        yield "context parallelism"
    if parallel.use_ubatching:
        yield "dual batch overlap (enable_dbo)"
    if config.lora_config is not None:
        yield "LoRA adapters (enable_lora)"
    if config.speculative_config is not None:
        yield f"speculative decoding ({config.speculative_config.method})"
    if config.kv_transfer_config is not None:
        yield f"KV transfer ({config.kv_transfer_config.kv_connector})"
    if model.enable_prompt_embeds:
        yield "prompt embeddings (enable_prompt_embeds)"
    if model.runner_type != "generate":
        yield f"the runner {model.runner_type!r}"


def keep_to_first_runner() -> None:
    """Let vLLM choose its V1 model runner for connected models, or refuse where V2 is asked for by the environment."""
    replace_once(VllmConfig, "_get_v2_model_runner_unsupported_features", _unsupported_by_second_runner)


def _unsupported_by_second_runner(unsupported: Any, config: VllmConfig) -> list[str]:
    connected = config.model_config is not None and is_connected(config.model_config)
    return [*unsupported(config), *(["the cross-lingual connection of CC-Tuning"] if connected else [])]
