"""Prompts in batches: what every way of answering starts from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionMode
from cc_tuning.runtime.padding import padded

PADDING_ID = 0
"""Padding is masked everywhere, so any token will do."""


@dataclass(frozen=True)
class Prompt:
    """A rendered generation prompt."""

    id: str
    """Seeds the draws of its own answer."""
    input_ids: Sequence[int]
    english_input_ids: Sequence[int] | None = None
    """The rendered English prompt, for the connections that read one (`NEED_ENGLISH`)."""
    is_english: bool = False
    language: str = ""
    """FLORES code, for a Transform Matrix with an intercept for each language; empty where it is not known."""


def longest_first(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places in `lengths` in batches of similar length.

    The longest come first so that a batch too large for the memory fails at once and not after an hour.
    """
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


def english_batch(
    prompts: Sequence[Prompt], device: torch.device, connection: ConnectionMode = "parallel"
) -> tuple[Tensor, Tensor]:
    """The English prompts padded on the left, ids and mask `[B, T_en]`, for `connection`.

    Raises:
        ConfigError: a prompt has none.
    """
    ids = [prompt.english_input_ids for prompt in prompts if prompt.english_input_ids]
    if len(ids) != len(prompts):
        lacking = [prompt.id for prompt in prompts if not prompt.english_input_ids]
        raise ConfigError(
            f"the connection {connection!r} needs an English prompt beside each prompt; {len(lacking)} of "
            f"{len(prompts)} have none, first {lacking[:3]}. Leave them out, or use the connection 'transform' or 'off'"
        )
    input_ids, attention_mask = padded(ids, PADDING_ID, "left")
    return input_ids.to(device), attention_mask.to(device)


def english_rows(prompts: Sequence[Prompt], device: torch.device) -> Tensor:
    """Which prompts are English, `[B]` bool."""
    return torch.tensor([prompt.is_english for prompt in prompts], device=device)


def languages_of(prompts: Sequence[Prompt]) -> list[str] | None:
    """The FLORES code of each prompt; None where not all are known."""
    languages = [prompt.language for prompt in prompts]
    return languages if all(languages) else None


def check_can_connect(has_connection: bool, connection: ConnectionMode) -> None:
    """Refuse a connection that a model without one is asked for.

    Raises:
        ConfigError: names the mode.
    """
    if connection != "off" and not has_connection:
        raise ConfigError(f"connection={connection!r}, but the checkpoint has no connection; use connection='off'")
