"""vLLM behind addresses that speak OpenAI's completions: servers that somebody started, each with the same model.

A server has to know the model by the name that is made from its files (`served.name_of_model`), asked for before
anything else and named in every request. So one that serves something else, or is started again with something else,
answers nothing. Requests go to the addresses in turn, many at a time, since a server batches what it is asked at once.
A request whose server does not answer is asked again, at the next address; answers are joined to requests by place,
and a shard is written when it is whole, so a server that dies in the middle costs nothing but time.

The key comes from the environment with each process and is written nowhere.
"""

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import httpx

from cc_tuning.errors import ConfigError, EvaluationFailed, in_one_line
from cc_tuning.inference.vllm.requests import VllmAnswer, VllmRequest

REQUESTS_AT_ONCE = 32
"""Of each address."""
_REFUSED = {400, 401, 403, 404, 405, 422}
"""Statuses that another try would get too."""


@dataclass(frozen=True)
class Patience:
    """How long a server that does not answer is waited for."""

    timeout_seconds: float = 600.0
    """For one answer."""
    tries: int = 16
    tries_at_start: int = 3
    """Of an address that has not answered yet, and may not be right."""
    first_wait_seconds: float = 1.0
    """Before the second try; doubled before each further one, to a minute: ten minutes in all, in which a server can
    be started again."""

    def wait_seconds(self, tried: int) -> float:
        """Before the next try, after `tried`."""
        return float(min(60.0, self.first_wait_seconds * 2 ** (tried - 1)))


class VllmAddresses:
    """Servers of one model; `ask` may use each from many threads."""

    def __init__(self, addresses: Sequence[str], model: str, key_variable: str, patience: Patience) -> None:
        """Ask every address for its models.

        Raises:
            ConfigError: an address is no vLLM, does not take the key, or serves another model.
            EvaluationFailed: an address is not reached.
        """
        key = os.environ.get(key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=patience.timeout_seconds, headers=headers)
        self._addresses = [address.rstrip("/") for address in addresses]
        self._model, self._key_variable, self._patience = model, key_variable, patience
        self._turns = itertools.count()
        for address in self._addresses:
            self._require_model(address)

    def ask(self, requests: Sequence[VllmRequest]) -> list[VllmAnswer]:
        answers: dict[int, VllmAnswer] = {}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE * len(self._addresses)) as pool:
            waiting = {pool.submit(self._ask_one, request): place for place, request in enumerate(requests)}
            try:
                for future in as_completed(waiting):
                    answers[waiting[future]] = future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [answers[place] for place in range(len(requests))]

    def _require_model(self, address: str) -> None:
        body = self._tried(lambda: self._client.get(f"{address}/models"), address, self._patience.tries_at_start)
        try:
            served = [str(model["id"]) for model in body["data"]]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{address}/models answers no list of models: {str(body)[:200]!r}") from error
        if self._model not in served:
            raise ConfigError(
                f"{address} serves {', '.join(served) or 'nothing'}; expected {self._model}, a name made from the "
                "files of the model that is evaluated. Start the server with that model and with `--served-model-name "
                f"... {self._model}`, or take the address out of execution.vllm_url"
            )

    def _ask_one(self, request: VllmRequest) -> VllmAnswer:
        asked = body_of(request, self._model)

        def send() -> httpx.Response:
            address = self._addresses[next(self._turns) % len(self._addresses)]
            return self._client.post(f"{address}/completions", json=asked)

        body = self._tried(send, ", ".join(self._addresses), self._patience.tries)
        return answer_in(body, request)

    def _tried(self, send: Callable[[], httpx.Response], where: str, tries: int) -> Any:
        """The JSON that `send` gets, in at most `tries`."""
        reason = ""
        for tried in range(1, tries + 1):
            try:
                response = send()
                if response.status_code == httpx.codes.OK:
                    return response.json()
                reason = f"status {response.status_code}: {in_one_line(response.text)}"
                if response.status_code in _REFUSED:
                    raise ConfigError(
                        f"vLLM at {where} refuses with {reason}; check execution.vllm_url, the key in the variable "
                        f"{self._key_variable}, and that the server has the plugin and the context for these prompts"
                    )
            except (httpx.HTTPError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
            if tried < tries:
                time.sleep(self._patience.wait_seconds(tried))
        raise EvaluationFailed(
            f"vLLM at {where} did not answer in {tries} tries, last {reason}. Finished shards are kept; "
            "start the server and run the stage again"
        )


def body_of(request: VllmRequest, model: str) -> dict[str, Any]:
    """A request as OpenAI's completions with vLLM's additions; nothing of a server's decoding defaults is used."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(request.prompt),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop_token_ids": list(request.stop_token_ids),
        "ignore_eos": True,
        "return_token_ids": True,
        **_NEUTRAL,
    }
    if request.extra_args is not None:
        body["vllm_xargs"] = request.extra_args
    if request.scored_from is not None:
        body["prompt_logprobs"] = 0
    if request.asked_ids:
        body |= {"logprobs": len(request.asked_ids), "logprob_token_ids": list(request.asked_ids)}
        body["return_tokens_as_token_ids"] = True
    return body


_NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def answer_in(body: Mapping[str, Any], request: VllmRequest) -> VllmAnswer:
    """The answer in a completion.

    Raises:
        EvaluationFailed: something that was asked for is missing.
    """
    try:
        choice = body["choices"][0]
        scored = []
        if (place := request.scored_from) is not None:
            entries = choice["prompt_logprobs"][place:]
            for token, entry in zip(request.prompt[place:], entries, strict=True):
                scored.append((entry[str(token)]["logprob"], entry[str(token)]["rank"]))
        found: dict[int, float] = {}
        if request.asked_ids:
            first = choice["logprobs"]["top_logprobs"][0]
            found = {token: first[f"token_id:{token}"] for token in request.asked_ids}
        return VllmAnswer(token_ids=choice["token_ids"], scored=tuple(scored), log_probabilities=found)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EvaluationFailed(
            f"a completion lacks what was asked for ({type(error).__name__}: {error}); a server of vLLM 0.32.0 gives "
            f"it. It answered {in_one_line(str(body))}"
        ) from error
