"""A judge behind an address that speaks OpenAI's chat completions: a service, or a server of your own.

The key comes from the environment with each process and is written nowhere: it is neither in a config, nor in an error,
nor in what is kept of a judgement.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.judge.config import JudgeConfig
from cc_tuning.evaluation.judge.verdicts import Messages
from cc_tuning.runtime.execution import Execution

_WRONG_SETTINGS = {401, 403, 404, 405}
"""Statuses that every question would get."""
_WRONG_QUESTION = {400, 413, 422}
"""Statuses of one question, such as one that is longer than the judge reads."""


@dataclass(frozen=True)
class Reply:
    """What a judge said."""

    text: str
    is_refusal: bool
    """It declined to judge: the model said so, or a filter kept its words back."""
    prompt_tokens: int
    completion_tokens: int


class Unavailable(Exception):
    """No reply this time: a time-out, a broken connection, a quota, an error of the server."""

    def __init__(self, reason: str, retry_after: float | None = None, is_final: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""
        self.is_final = is_final
        """Whether this question will not be answered, however often it is asked."""


Ask = Callable[[Messages], Reply]


class OpenAICompatibleJudge:
    """Asks one question at a time; may be called from several threads."""

    def __init__(self, config: JudgeConfig, execution: Execution) -> None:
        if not execution.judge_address:
            raise ConfigError(
                "judge.kind is openai and `execution.judge_address` is empty; expected an address such as "
                "http://localhost:8000/v1"
            )
        key = os.environ.get(execution.judge_key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._address = execution.judge_address.rstrip("/") + "/chat/completions"
        self._body = {"model": config.model, "temperature": config.temperature, "max_tokens": config.max_tokens}
        self._client = httpx.Client(timeout=execution.judge_timeout_seconds, headers=headers)

    def __call__(self, messages: Messages) -> Reply:
        """The judge's reply.

        Raises:
            Unavailable: another try may help.
            ConfigError: it will not: the address, the key or the model is not right.
        """
        try:
            response = self._client.post(self._address, json={**self._body, "messages": messages})
        except httpx.HTTPError as error:
            raise Unavailable(f"{type(error).__name__} at {self._address}") from error
        if response.status_code in _WRONG_SETTINGS:
            raise ConfigError(
                f"the judge at {self._address} answers {response.status_code}: {response.text[:200]!r}; check "
                "`execution.judge_address`, `judge.model`, and the key in the variable "
                "`execution.judge_key_variable` names"
            )
        if response.status_code in _WRONG_QUESTION:
            raise Unavailable(f"status {response.status_code}: {response.text[:80]!r}", is_final=True)
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"status {response.status_code}", _seconds(response.headers.get("retry-after")))
        try:
            return _reply(response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise Unavailable(f"no chat completion: {response.text[:80]!r}") from error


def _reply(body: Any) -> Reply:
    choice, usage = body["choices"][0], body.get("usage") or {}
    message = choice["message"]
    is_refusal = bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter"
    return Reply(
        text=message.get("content") or "",
        is_refusal=is_refusal,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:  # a date, which servers of models do not send
        return None
