"""What vLLM is asked for a prompt, and what its answers mean.

A continuation is drawn, or taken greedily, by vLLM itself; the seed of a draw comes from the request's seed and the
prompt's id alone. The log-likelihood of candidates y after a prompt x is

    log p(y | x) = sum_{t < n} log p(y_t | x, y_<t)  +  log p(y_n | x, y_<n)

where the first part are log-probabilities of prompt tokens and the last is one of a first answered token. So candidates
that differ in their last token alone are one request, and options of one token cost a single reading of the prompt.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.inference.generating import Answer
from cc_tuning.inference.jobs import Generate
from cc_tuning.inference.loglikelihoods import Candidates, ContinuationScore
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model.config import ConnectionMode

MOST_ASKED_IDS = 16
"""Tokens whose log-probabilities one request asks for: a server allows 20 unless it is told otherwise."""
Switches = dict[str, Any]


class VllmRequest(BaseModel):
    """One request, as token ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    extra_args: Switches | None = None
    """How the request is connected; None for a model without a connection."""
    scored_from: int | None = None
    """The first place of `prompt` whose token's log-probability is asked for."""
    asked_ids: tuple[int, ...] = ()
    """Tokens whose log-probability as the first of the answer is asked for."""

    @property
    def length(self) -> int:
        """Tokens that the model's context has to hold; an English prompt is read in a pass of its own."""
        return max(len(self.prompt) + self.max_tokens, len((self.extra_args or {}).get("english", ())) + 1)


class VllmAnswer(BaseModel):
    """The answer to one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_ids: tuple[int, ...] = Field(min_length=1)
    scored: tuple[tuple[float, int], ...] = ()
    """The log-probability and the rank, from 1, of each prompt token from `scored_from` on."""
    log_probabilities: dict[int, float] = {}
    """Of `asked_ids`."""


class Asker(Protocol):
    """A vLLM that has loaded one model."""

    def ask(self, requests: Sequence[VllmRequest]) -> list[VllmAnswer]:
        """The answers to all requests, in their order.

        Raises:
            EvaluationFailed: vLLM ended, or is not reached any more.
            ConfigError, UnsupportedModel: it refuses what it is asked.
        """


def switches_of(prompt: Prompt, connection: ConnectionMode, english: str) -> Switches:
    """How a prompt is connected, in the words of the plugin; `english` is the checkpoint's `connection.english`.

    `other` is `parallel` whose English prompt is another item's, which whoever asks has given already.
    """
    if connection in ("parallel", "other"):
        return {"connection": "parallel", "english": list(prompt.english_input_ids or ())}
    if connection == "transform" and english == "identity" and prompt.is_english:
        return {"connection": "identity"}
    return {"connection": connection}


def generation(prompt: Prompt, request: Generate, switches: Switches | None) -> VllmRequest:
    """The request for a continuation of `prompt`."""
    sampling = request.sampling
    drawn: dict[str, Any] = {}
    if sampling is not None:
        drawn = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed_of(prompt.id, sampling.seed),
        }
    return VllmRequest(
        prompt=tuple(prompt.input_ids),
        max_tokens=request.max_new_tokens,
        stop_token_ids=tuple(sorted(request.stop_token_ids)),
        extra_args=switches,
        **drawn,
    )


def seed_of(prompt_id: str, seed: int) -> int:
    """The seed of one prompt's draws, 0 to 2^63 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()[:8]) >> 1


def answer_of(request: VllmRequest, answer: VllmAnswer) -> Answer:
    """What was written before the first stop token; vLLM does not tell which layer was selected."""
    for place, token_id in enumerate(answer.token_ids):
        if token_id in request.stop_token_ids:
            return Answer(list(answer.token_ids[:place]), True, None)
    return Answer(list(answer.token_ids), False, None)


def likelihood_requests(prompt: Prompt, candidates: Candidates, switches: Switches | None) -> list[VllmRequest]:
    """The requests for the log-likelihoods of `candidates` after `prompt`, each candidate in one of them."""
    length = len(prompt.input_ids)
    return [
        VllmRequest(
            prompt=(*prompt.input_ids, *head),
            max_tokens=1,
            extra_args=switches if switches is None or not head else {**switches, "prompt_length": length},
            scored_from=length if head else None,
            asked_ids=tuple(asked),
        )
        for head, last in _by_head(candidates).items()
        for asked in _parts(sorted(last))
    ]


def scores_of(
    candidates: Candidates, asked: Sequence[VllmRequest], answers: Sequence[VllmAnswer], prompt_length: int
) -> list[ContinuationScore]:
    """The scores of `candidates` from the answers to `likelihood_requests`."""
    found: dict[tuple[int, ...], tuple[float, bool]] = {}
    for request, answer in zip(asked, answers, strict=True):
        head = request.prompt[prompt_length:]
        total, is_greedy = sum(one for one, _ in answer.scored), all(rank == 1 for _, rank in answer.scored)
        for token, last in answer.log_probabilities.items():
            found[(*head, token)] = (total + last, is_greedy and answer.token_ids[0] == token)
    # A sum of rounded log-probabilities can be a little above 0.
    return [
        ContinuationScore(min(found[tuple(ids)][0], 0.0), len(ids), found[tuple(ids)][1], None) for ids in candidates
    ]


def _by_head(candidates: Candidates) -> dict[tuple[int, ...], set[int]]:
    """The last tokens of the candidates, by the tokens before them."""
    heads: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
    for *head, last in candidates:
        heads[tuple(head)].add(last)
    return heads


def _parts(ids: list[int]) -> Iterable[list[int]]:
    for first in range(0, len(ids), MOST_ASKED_IDS):
        yield ids[first : first + MOST_ASKED_IDS]
