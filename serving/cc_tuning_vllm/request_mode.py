"""How one request is connected: what its sender may say, and what the engine is told.

A sender says `extra_args: {"connection": "off"}`, in a chat completion `vllm_xargs`, or brings an English prompt,
`{"english": [token ids]}`. A prompt with a given continuation behind it, whose log-probabilities are asked for, says
with `prompt_length` how many of its tokens are the prompt. It is read once, where the request enters; from there on its
parameters hold the mode and the place of t* in its prompt, which the scheduler's process needs for the prefix cache and
the workers for the connection. So both see the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

SWITCH, ENGLISH, PROMPT_LENGTH = "connection", "english", "prompt_length"
_TOKEN = "connection_token"
MODES = ("transform", "off", "identity", "parallel")


@dataclass(frozen=True)
class Limits:
    """What prompts of one model keep to."""

    offset: int
    """Tokens between t* and the last prompt token."""
    vocabulary: int
    longest: int
    """Tokens of a prompt."""


@dataclass(frozen=True)
class RequestMode:
    """One request's mode."""

    mode: str
    """`transform`: connected through the map; `parallel`: with the activations of an English prompt; `identity`: with
    its own as they are; `off`: not at all."""
    token: int
    """The place of t* in the prompt; -1 where nothing is connected."""
    english: tuple[int, ...] = ()
    """The English prompt up to its t*, for `parallel`."""

    @property
    def is_connected(self) -> bool:
        """Whether a vector is added."""
        return self.mode != "off"

    @property
    def keeps_own(self) -> bool:
        """Whether activations are carried over without the map."""
        return self.mode in ("identity", "parallel")

    @property
    def cache_key(self) -> str:
        """What tells the keys and values behind t* from those of other requests with the same tokens."""
        english = f" of {sha256(repr(self.english).encode()).hexdigest()}" if self.english else ""
        return f"{self.mode} at {self.token}{english}"

    @classmethod
    def asked(cls, extra_args: Mapping[str, Any] | None, prompt_length: int, limits: Limits) -> Self:
        """The mode that a request asks for, by default `parallel` with an English prompt and `transform` without.

        Raises:
            ValueError: a switch or a mode that does not exist, a prompt without t*, or an English prompt that is none.
        """
        asked = dict(extra_args or {})
        english = asked.pop(ENGLISH, None)
        mode = asked.pop(SWITCH, "transform" if english is None else "parallel")
        read_tokens = _read_prompt_length(asked.pop(PROMPT_LENGTH, prompt_length), prompt_length)
        if asked or mode not in MODES:
            got = f"the switch {sorted(asked)[0]!r}" if asked else f"{SWITCH}={mode!r}"
            raise ValueError(
                f"extra_args has {got}; this model knows {SWITCH!r} with one of {', '.join(MODES)}, {ENGLISH!r} "
                f"and {PROMPT_LENGTH!r}"
            )
        if (mode == "parallel") != (english is not None):
            raise ValueError(
                f"extra_args has {SWITCH}={mode!r} {'without' if english is None else 'and'} {ENGLISH!r}: 'parallel' "
                "takes the token ids of the rendered English prompt, the other modes take none"
            )
        if mode == "off":
            return cls(mode, -1)
        if read_tokens <= limits.offset:
            raise ValueError(
                f"a prompt of {read_tokens} tokens has no token {limits.offset} before its last, where the "
                "connection belongs; send a whole rendered chat prompt, or extra_args {'connection': 'off'}"
            )
        read = () if english is None else _read_english(english, limits)
        return cls(mode, read_tokens - 1 - limits.offset, read)

    @property
    def extra_args(self) -> dict[str, Any]:
        """What the engine is told."""
        return {SWITCH: self.mode, _TOKEN: self.token, ENGLISH: list(self.english)}

    @classmethod
    def of(cls, sampling_params: Any) -> Self:
        """The mode of a request that has entered.

        Raises:
            RuntimeError: it did not enter through `entrance`, so its prompt's t* is not known.
        """
        mode = cls.told(sampling_params)
        if mode is None:
            raise RuntimeError(
                "a request reached the engine past the entrance of the plugin cc-tuning-vllm, which says how it is "
                "connected; the plugin was not loaded in the process that took it in (VLLM_PLUGINS leaves it out?)"
            )
        return mode

    @classmethod
    def told(cls, sampling_params: Any) -> Self | None:
        """The mode of a request, or None where it is one of a model without a connection."""
        told = getattr(sampling_params, "extra_args", None) or {}
        return cls(told[SWITCH], told[_TOKEN], tuple(told[ENGLISH])) if _TOKEN in told else None


def _read_prompt_length(said: Any, tokens: int) -> int:
    """How many of the tokens of a request are its prompt."""
    if not isinstance(said, int) or isinstance(said, bool) or not 0 < said <= tokens:
        raise ValueError(
            f"extra_args has {PROMPT_LENGTH}={said!r} for a request of {tokens} tokens; expected how many of them are "
            "the prompt, the others being the continuation whose log-probabilities are asked for"
        )
    return said


def _read_english(english: Any, limits: Limits) -> tuple[int, ...]:
    """An English prompt up to its t*."""
    are_ids = isinstance(english, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < limits.vocabulary for one in english
    )
    if not are_ids or not limits.offset < len(english) <= limits.longest:
        got = f"{len(english)} entries" if isinstance(english, list) else f"a {type(english).__name__}"
        raise ValueError(
            f"extra_args has {ENGLISH!r} with {got}; expected the token ids of the rendered English prompt, "
            f"{limits.offset + 1} to {limits.longest} of them, each below {limits.vocabulary}"
        )
    return tuple(english[: len(english) - limits.offset])
