"""Every question to a judge asked until it is answered, each verdict kept once and found again.

    FOLDER/<two digits>/<sha256 of judge and messages>.json

A verdict's name is the hash of all that decides it: the judge's model and settings, and the messages. So recipes, runs
and days share it, a killed run keeps what it paid for, and a later one asks only for what is open. A judge that does
not answer, or says what is no verdict, is asked again after a wait that doubles; what stays without a verdict is open.
"""

import hashlib
import logging
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cc_tuning.evaluation.judge.client import Ask, Unavailable
from cc_tuning.evaluation.judge.config import JudgeConfig
from cc_tuning.evaluation.judge.verdicts import Messages, NotAVerdict, verdict_of
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json
from data_contracts.fingerprint import canonical_json

logger = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 60.0


class Judgement(BaseModel):
    """A verdict and what it cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["first", "second", "tie", "refused", "open"]
    tries: int
    prompt_tokens: int = 0
    """Of all tries that were answered."""
    completion_tokens: int = 0
    detail: str = ""
    """Why it is open."""


@dataclass(frozen=True)
class Patience:
    """How long a judge is asked."""

    workers: int
    """Questions at the same time."""
    tries: int
    wait_seconds: float
    """Before the second try; doubled before each further one, to a minute at most, and shortened by up to half."""


def question_key(config: JudgeConfig, messages: Messages) -> str:
    """The name under which the verdict on a question is kept."""
    decides = {
        "model": config.model, "temperature": config.temperature, "max_tokens": config.max_tokens, "messages": messages,
    }  # fmt: skip
    return hashlib.sha256(canonical_json(decides).encode()).hexdigest()


def ask_all(
    questions: Mapping[str, Messages], ask: Ask, folder: Path, patience: Patience, count: Callable[[int], None]
) -> dict[str, Judgement]:
    """The judgement of each question by its key; those kept in `folder` are not asked for again.

    `count` is told how many are settled more. Questions without a verdict after all tries are `open` and not kept.

    Raises:
        ConfigError: the judge cannot be asked at all; what was answered is kept.
    """
    known = {key: kept for key in questions if (kept := _kept(folder, key)) is not None}
    count(len(known))
    waiting = [key for key in questions if key not in known]
    if waiting and known:
        logger.info("judge: %d of %d verdicts were there before", len(known), len(questions))
    stop = threading.Event()
    with ThreadPoolExecutor(patience.workers, thread_name_prefix="judge") as pool:
        futures = {
            pool.submit(_asked, key, questions[key], ask, folder, patience, stop): key for key in waiting
        }  # fmt: skip
        try:
            for future in as_completed(futures):
                known[futures[future]] = future.result()
                count(1)
        except BaseException:
            stop.set()  # nobody waits for the others, and nothing more is paid for
            pool.shutdown(cancel_futures=True)
            raise
    return known


def _asked(
    key: str, messages: Messages, ask: Ask, folder: Path, patience: Patience, stop: threading.Event
) -> Judgement:
    draw = random.Random(key)
    prompt_tokens = completion_tokens = 0
    reason = ""
    for attempt in range(1, patience.tries + 1):
        wait: float | None = None
        try:
            reply = ask(messages)
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
            judgement = Judgement(
                verdict="refused" if reply.is_refusal else verdict_of(reply.text),
                tries=attempt,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
            )
            write_json(_path(folder, key), judgement.model_dump(mode="json"))
            return judgement
        except (NotAVerdict, Unavailable) as error:
            reason = str(error)
            wait = error.retry_after if isinstance(error, Unavailable) else None
            if isinstance(error, Unavailable) and error.is_final:
                break
        if attempt < patience.tries and stop.wait(_pause(attempt, wait, patience, draw)):
            break
    logger.warning("judge: no verdict after %d tries: %s", attempt, reason)
    return Judgement(
        verdict="open",
        tries=attempt,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        detail=reason,
    )


def _pause(attempt: int, asked_for: float | None, patience: Patience, draw: random.Random) -> float:
    wait = patience.wait_seconds * 2 ** (attempt - 1) * draw.uniform(0.5, 1.0)
    return min(_LONGEST_WAIT_SECONDS, max(wait, asked_for or 0.0))


def _kept(folder: Path, key: str) -> Judgement | None:
    path = _path(folder, key)
    if not path.is_file():
        return None
    try:
        return Judgement.model_validate(read_json(path))
    except (ValidationError, ArtifactMismatch) as error:
        logger.warning("judge: %s cannot be read (%s); asked again", path, error)
        return None


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"
