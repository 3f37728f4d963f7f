"""How one request is connected: what its sender may say, and what the engine is told.

A sender says `extra_args: {"connection": "off"}`, in a chat completion `vllm_xargs`. It is read once, where the
request enters; from there on its parameters hold the mode and the place of t* in its prompt, which the scheduler's
process needs for the prefix cache and the workers for the connection. So both see the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

SWITCH = "connection"
_TOKEN = "connection_token"
MODES = ("transform", "off", "identity")


@dataclass(frozen=True)
class RequestMode:
    """One request's mode."""

    mode: str
    """`transform`: connected through the map; `identity`: with its own activations as they are; `off`: not at all."""
    token: int
    """The place of t* in the prompt; -1 where nothing is connected."""

    @property
    def is_connected(self) -> bool:
        """Whether a vector is added."""
        return self.mode != "off"

    @property
    def keeps_own(self) -> bool:
        """Whether the prompt's own activations are carried over as they are."""
        return self.mode == "identity"

    @classmethod
    def asked(cls, extra_args: Mapping[str, Any] | None, prompt_length: int, offset: int) -> Self:
        """The mode that a request asks for; `transform` where it asks for nothing.

        Raises:
            ValueError: a switch or a mode that does not exist, or a prompt without t*.
        """
        asked = dict(extra_args or {})
        if "english" in asked:
            raise ValueError(
                "extra_args has 'english', but this server does not read English prompts (mode parallel); leave it out "
                "for the connection through the Transform Matrix, or answer with `cc-tuning generate --english`"
            )
        mode = asked.pop(SWITCH, "transform")
        if asked or mode not in MODES:
            got = f"the switch {sorted(asked)[0]!r}" if asked else f"{SWITCH}={mode!r}"
            raise ValueError(f"extra_args has {got}; this model knows {SWITCH!r} with one of {', '.join(MODES)}")
        if mode == "off":
            return cls(mode, -1)
        if prompt_length <= offset:
            raise ValueError(
                f"a prompt of {prompt_length} tokens has no token {offset} before its last, where the connection "
                "belongs; send a whole rendered chat prompt, or extra_args {'connection': 'off'}"
            )
        return cls(mode, prompt_length - 1 - offset)

    @property
    def extra_args(self) -> dict[str, Any]:
        """What the engine is told."""
        return {SWITCH: self.mode, _TOKEN: self.token}

    @classmethod
    def of(cls, sampling_params: Any) -> Self:
        """The mode of a request that has entered.

        Raises:
            RuntimeError: it did not enter through `entrance`, so its prompt's t* is not known.
        """
        told = getattr(sampling_params, "extra_args", None) or {}
        if _TOKEN not in told:
            raise RuntimeError(
                "a request reached the engine past the entrance of the plugin cc-tuning-vllm, which says how it is "
                "connected; the plugin was not loaded in the process that took it in (VLLM_PLUGINS leaves it out?)"
            )
        return cls(told[SWITCH], told[_TOKEN])

    @classmethod
    def told(cls, sampling_params: Any) -> Self | None:
        """The mode of a request, or None where it is one of a model without a connection."""
        told = getattr(sampling_params, "extra_args", None) or {}
        return cls(told[SWITCH], told[_TOKEN]) if _TOKEN in told else None
