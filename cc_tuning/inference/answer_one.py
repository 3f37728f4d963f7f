"""Answer one prompt with a finished checkpoint, the answer streaming as it is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from transformers import TextStreamer

from cc_tuning.errors import ConfigError
from cc_tuning.model import CrossLingualModel, load_checkpoint
from cc_tuning.model.transform_matrix import ENGLISH, MEAN_LANGUAGE
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.text.languages import by_any_code
from cc_tuning.text.prompts import ChatPrompts, in_context, load_tokenizer

CONNECTIONS = ("transform", "parallel", "off", "context")
"""`context` is the model with the connection off and the English prompt before the prompt, as text."""
_READ_ENGLISH = ("parallel", "context")


@dataclass(frozen=True)
class GenerationRequest:
    """What to ask, of which checkpoint, and how to decode."""

    checkpoint: Path
    prompt: str
    english_prompt: str
    """For the connections `parallel` and `context`; empty otherwise."""
    connection: str
    max_new_tokens: int
    temperature: float
    """0 is greedy."""
    seed: int
    is_english: bool = False
    """Whether the prompt is English; asked by checkpoints with `connection.english: identity` only."""
    language: str = ""
    """A code of the prompt's language, or `mean`; asked by maps with an intercept for each language only."""


def generate_text(request: GenerationRequest, output: TextIO) -> None:
    """Write the answer to `output`.

    Raises:
        ConfigError: an unknown connection, or one that the checkpoint or the request does not have what is needed for.
        ArtifactMismatch: the checkpoint is damaged.
    """
    if request.connection not in CONNECTIONS:
        raise ConfigError(f"connection {request.connection!r}: expected one of {', '.join(CONNECTIONS)}")
    if (request.connection in _READ_ENGLISH) != bool(request.english_prompt):
        raise ConfigError(
            "an English prompt goes with the connections `parallel` and `context`, and only with them: give both or "
            "none"
        )
    if not request.checkpoint.is_dir():
        raise ConfigError(f"{request.checkpoint.absolute()} is not a directory; expected a checkpoint directory")
    device = resolve_device("auto")
    model = load_checkpoint(request.checkpoint, device=device)
    tokenizer = load_tokenizer(request.checkpoint)
    prompts = ChatPrompts(tokenizer)
    arguments: dict[str, Any] = {
        "max_new_tokens": request.max_new_tokens,
        "streamer": _Streamer(tokenizer, output),
        "pad_token_id": tokenizer.pad_token_id,
    } | _decoding(request)
    is_text = request.connection == "context"
    text = in_context(request.prompt, request.english_prompt) if is_text else request.prompt
    arguments |= _batch(prompts, text, device, "")
    if not isinstance(model, CrossLingualModel):
        if request.connection == "parallel":
            raise ConfigError(f"{request.checkpoint} has no connection to its English side; leave `--english` out")
        cast(Any, model).generate(**arguments)
        return
    if request.connection == "parallel":
        arguments |= _batch(prompts, request.english_prompt, device, "english_")
    if request.connection == "transform":
        arguments["english_rows"] = torch.tensor([request.is_english], device=device)
        language = request.language or (ENGLISH if request.is_english else "")
        if language not in ("", MEAN_LANGUAGE):
            language = by_any_code(language, request.prompt).flores_code
        arguments["languages"] = [language] if language else None
    model.generate(connection="off" if is_text else request.connection, **arguments)


def _batch(prompts: ChatPrompts, text: str, device: torch.device, prefix: str) -> dict[str, torch.Tensor]:
    ids = torch.tensor([prompts.encode_prompt(text)], device=device)
    return {f"{prefix}input_ids": ids, f"{prefix}attention_mask": torch.ones_like(ids)}


def _decoding(request: GenerationRequest) -> dict[str, Any]:
    if request.temperature == 0:
        return {"do_sample": False}
    torch.manual_seed(request.seed)
    return {"do_sample": True, "temperature": request.temperature}


class _Streamer(TextStreamer):
    """Hugging Face's streamer, writing to a given stream."""

    def __init__(self, tokenizer: Any, output: TextIO) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._output = output

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._output.write(text + ("\n" if stream_end else ""))
        self._output.flush()
