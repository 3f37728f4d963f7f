"""Where requests enter: each is told how it is connected, and what cannot be connected is refused.

Both `LLM` and the server send every request through `InputProcessor.process_inputs`, which works on its own copy of the
sender's parameters. Beam search never reaches it as such: vLLM plays it as a series of ordinary requests whose prompts
grow by the answer, so t* would move with them; it is refused where it begins.

It is the front end that has an `InputProcessor`, made before its engine is started; so what workers count is collected
from there on.
"""

from collections.abc import AsyncGenerator
from typing import Any

from vllm.entrypoints.generate.beam_search.offline import BeamSearchOfflineMixin
from vllm.entrypoints.generate.beam_search.online import BeamSearchOnlineMixin
from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.input_processor import InputProcessor

from cc_tuning_vllm.metrics import collect_from_workers
from cc_tuning_vllm.patching import replace_once
from cc_tuning_vllm.request_mode import Limits, RequestMode
from cc_tuning_vllm.settings import SECTION


def is_connected(model_config: Any) -> bool:
    """Whether a vLLM model configuration is that of an exported directory."""
    return getattr(model_config.hf_config, SECTION, None) is not None


def watch_entrance() -> None:
    """Tell the requests of connected models how they are connected; those of other models pass unchanged."""
    replace_once(InputProcessor, "__init__", _begin)
    replace_once(InputProcessor, "process_inputs", _process_connected)
    replace_once(BeamSearchOfflineMixin, "beam_search", _search_offline)
    replace_once(BeamSearchOnlineMixin, "beam_search", _search_online)


def _begin(begin: Any, processor: InputProcessor, *args: Any, **named: Any) -> None:
    begin(processor, *args, **named)
    if is_connected(processor.model_config):
        collect_from_workers()


def _process_connected(process_inputs: Any, processor: InputProcessor, *args: Any, **named: Any) -> Any:
    request = process_inputs(processor, *args, **named)
    if is_connected(processor.model_config):
        _tell(request, _limits(processor.model_config))
    return request


def _limits(model_config: Any) -> Limits:
    offset = model_config.hf_config.cc_tuning["offset"]
    return Limits(offset, model_config.get_vocab_size(), model_config.max_model_len)


def _tell(request: Any, limits: Limits) -> None:
    if request.resumable:
        raise VLLMValidationError("a request whose prompt grows while it is answered has no fixed t*; send it whole")
    try:
        mode = RequestMode.asked(request.sampling_params.extra_args, len(request.prompt_token_ids), limits)
    except ValueError as error:
        raise VLLMValidationError(str(error), parameter="extra_args") from error
    request.sampling_params.extra_args = mode.extra_args


def _search_offline(search: Any, llm: Any, *args: Any, **named: Any) -> Any:
    _check_beam_search(llm.model_config)
    return search(llm, *args, **named)


async def _search_online(search: Any, server: Any, *args: Any, **named: Any) -> AsyncGenerator[Any, None]:
    _check_beam_search(server.engine_client.model_config)
    async for output in search(server, *args, **named):
        yield output


def _check_beam_search(model_config: Any) -> None:
    if is_connected(model_config):
        raise VLLMValidationError(
            "beam search is not possible with a cross-lingual connection in vLLM: it sends each beam again as a longer "
            "prompt, whose t* is another one. Sample, or answer greedily"
        )
