"""What Prefect shows of a step that failed: its message, its last log lines, and where its files lie."""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.step import Step
from data_contracts.errors import DataContractError
from data_contracts.store import ArtifactStore
from tasks.artifacts import artifact_key

LAST_LINES = 60
_LIBRARIES = ("cc_tuning", "data_contracts")
_FENCE = "~~~~"


class _LastLines(logging.Handler):
    """Keeps the last lines that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s | %(levelname)s | %(message)s"))
        self.lines: deque[str] = deque(maxlen=LAST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def failure_shown(step: Step, store: ArtifactStore) -> Iterator[None]:
    """A context in which a step is made; where it fails, a Markdown artifact of its task run says why.

    The libraries' lines of level INFO are let through in it, to Prefect's handler too: in a deployed run nothing else
    lets them.
    """
    with _recorded() as lines:
        try:
            yield
        except Exception as error:
            _show(step, store, error, lines)
            raise


@contextmanager
def _recorded() -> Iterator[deque[str]]:
    handler = _LastLines()
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def _show(step: Step, store: ArtifactStore, error: Exception, lines: deque[str]) -> None:
    try:
        create_markdown_artifact(
            failure_markdown(step, store, error, lines),
            key=artifact_key(step, "failure"),
            description=f"Why {step.label} failed",
        )
    except Exception:  # the step's own error is the one that has to travel
        get_run_logger().warning("%s: its failure could not be shown as an artifact", step.label, exc_info=True)


def failure_markdown(step: Step, store: ArtifactStore, error: Exception, lines: deque[str]) -> str:
    """The page: what went wrong, where the step's files are, what to do, and the last lines of its log."""
    folder = store.folder(step.ref)
    kind = "" if isinstance(error, CcTuningError | DataContractError) else f"{type(error).__name__}: "
    return "\n".join(
        [
            f"# {step.label} failed", "", _FENCE, f"{kind}{error}".replace(_FENCE, "~~~"), _FENCE, "",
            f"- Artifact, once it is made: `{folder}`",
            f"- Made so far: `{folder}.partial`; the next run goes on from finished shards and checkpoints",
            f"- Fingerprint: `{step.fingerprint}`", "",
            f"## The last {len(lines)} lines of its log", "", _FENCE,
            *(line.replace(_FENCE, "~~~") for line in lines), _FENCE, "",
        ]
    )  # fmt: skip
