"""Clients of an OpenAI-compatible server, each of which asks one question behind the other until time is up.

Most wait for the whole answer, as a stream or at once, and compare its token ids, and those of the prompt, with what
the reference says. A few go away, before an answer or in the middle of one, and a few ask for a switch that does not
exist.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import httpx
from serving_questions import Conversation, Question

Behaviour = Literal["whole", "stream", "leaves early", "leaves in the middle", "wrong switch"]
SHARES: dict[Behaviour, float] = {
    "whole": 0.4,
    "stream": 0.48,
    "leaves early": 0.04,
    "leaves in the middle": 0.04,
    "wrong switch": 0.04,
}
EARLY_SECONDS = 0.02
LONGEST_SECONDS = 120
"""After which a request counts as one that was never answered."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    behaviour: Behaviour
    mode: str
    seconds: float
    to_first: float
    """Seconds to the first token, of a stream."""
    tokens: int
    problem: str
    """Empty where all is as it should be."""


@dataclass(frozen=True)
class Client:
    """One client, with a connection of its own."""

    number: int
    model: str
    http: httpx.AsyncClient
    leaving: Callable[[], httpx.AsyncClient]
    """Makes the connection of a request that is given up: a pool whose request was cancelled may never lend its only
    connection again."""
    shares: Mapping[Behaviour, float]

    async def ask_until(self, deadline: float, conversations: Sequence[Conversation]) -> list[Outcome]:
        """Hold conversations, turn by turn, in an order that is this client's own."""
        draw = Random(self.number)
        outcomes: list[Outcome] = []
        while time.monotonic() < deadline:
            for question in draw.choice(conversations):
                if question.is_decided:
                    (behaviour,) = draw.choices(list(self.shares), list(self.shares.values()))
                    outcomes.append(await self.ask(question, behaviour))
        return outcomes

    async def ask(self, question: Question, behaviour: Behaviour) -> Outcome:
        """The outcome of one request."""
        begin = time.monotonic()
        to_first, tokens, problem = 0.0, 0, ""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                if behaviour == "stream" or behaviour == "leaves in the middle":
                    to_first, tokens, problem = await self._stream(question, behaviour == "leaves in the middle")
                elif behaviour == "leaves early":
                    await self._leave_early(question)
                else:
                    response = await self.http.post("/v1/chat/completions", json=self._body(question, behaviour))
                    problem = _problem_of(response, question, behaviour)
                    tokens = 0 if problem or behaviour == "wrong switch" else len(question.answer_ids)
        except (httpx.HTTPError, TimeoutError) as error:
            problem = f"{behaviour}: {type(error).__name__}: {error}"
        return Outcome(behaviour, question.mode, time.monotonic() - begin, to_first, tokens, problem)

    def _body(self, question: Question, behaviour: Behaviour) -> dict[str, Any]:
        switch = {"connection": "maybe"} if behaviour == "wrong switch" else question.switch
        return {
            "model": self.model,
            "messages": question.messages,
            "temperature": 0,
            "max_completion_tokens": question.new_tokens,
            "return_token_ids": True,
        } | ({"vllm_xargs": switch} if switch else {})

    async def _leave_early(self, question: Question) -> None:
        async with self.leaving() as http:
            asking = http.post("/v1/chat/completions", json=self._body(question, "leaves early"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asking, EARLY_SECONDS)

    async def _stream(self, question: Question, leaves: bool) -> tuple[float, int, str]:
        begin, to_first = time.monotonic(), 0.0
        prompt: list[int] = []
        answer: list[int] = []
        body = self._body(question, "stream") | {"stream": True}
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                return 0.0, 0, f"status {response.status_code}: {(await response.aread())[:200]!r}"
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    return 0.0, 0, str(chunk["error"])
                prompt += chunk.get("prompt_token_ids") or []
                for choice in chunk["choices"]:
                    answer += choice.get("token_ids") or []
                if answer and not to_first:
                    to_first = time.monotonic() - begin
                if answer and leaves:
                    return to_first, len(answer), ""
        return to_first, len(answer), _difference(question, prompt, answer)


def _problem_of(response: httpx.Response, question: Question, behaviour: Behaviour) -> str:
    if behaviour == "wrong switch":
        is_named = response.status_code == 400 and "connection='maybe'" in response.text
        return "" if is_named else f"a wrong switch was answered with {response.status_code}: {response.text[:200]}"
    if response.status_code != 200:
        return f"status {response.status_code}: {response.text[:200]}"
    answer = response.json()
    if answer["usage"]["prompt_tokens"] != len(question.prompt_ids):
        return f"usage counts {answer['usage']['prompt_tokens']} prompt tokens, not {len(question.prompt_ids)}"
    return _difference(question, answer["prompt_token_ids"], answer["choices"][0]["token_ids"])


def _difference(question: Question, prompt: list[int], answer: list[int]) -> str:
    if tuple(prompt) != question.prompt_ids:
        return f"another prompt than the reference's {len(question.prompt_ids)} tokens: {prompt}"
    if tuple(answer) != question.answer_ids:
        return f"{question.mode}: answered {answer}, the reference {list(question.answer_ids)}"
    return ""


async def ask_together(
    address: str, key: str, model: str, conversations: Sequence[Conversation], clients: int, seconds: float,
    shares: Mapping[Behaviour, float] = SHARES,
) -> list[Outcome]:  # fmt: skip
    """The outcomes of that many clients that ask at the same time for that long."""
    deadline = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=1)
    headers = {"Authorization": f"Bearer {key}"}

    def connect() -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=300)

    async def one(number: int) -> list[Outcome]:
        async with connect() as http:
            return await Client(number, model, http, connect, shares).ask_until(deadline, conversations)

    asked = await asyncio.gather(*map(one, range(clients)))
    return [outcome for outcomes in asked for outcome in outcomes]
