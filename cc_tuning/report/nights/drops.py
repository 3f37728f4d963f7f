"""Whether a night's scores dropped against the last good one, and the message that says so.

The statistics are those of `cc-tuning compare`, with a confidence of their own: a gate is asked once, a nightly a
thousand times in three years. Where nothing has changed, a night is called dropped with a probability of at most 1 in
1,000, however many runs and benchmarks it has.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.statistics.intervals import Settings
from cc_tuning.report.comparing import ReportComparison, compare_reports

logger = logging.getLogger(__name__)

ALARM = Settings(confidence=0.999)
_MOST_LINES = 20


@dataclass(frozen=True)
class Drop:
    """What became worse, or is gone, from the last good night to this one."""

    message: str
    """For people, in plain text."""
    comparison: dict[str, Any]
    """For programs: the changes to the worse, and what is missing."""


def find_drop(good: Path, tonight: Path, names: tuple[str, str], settings: Settings = ALARM) -> Drop | None:
    """What dropped from the report in the folder `good` to that in `tonight`, None where nothing did.

    `names` are those of the two nights, for the message. A run, benchmark or item that is gone counts as a drop: it
    hides one. Two reports that cannot be compared, as of different recipes, show none, and the log says why.

    Raises:
        ArtifactMismatch, ContractViolation: the scores of a report are damaged.
    """
    try:
        found = compare_reports(good, tonight, settings=settings)
    except ConfigError as error:
        logger.warning("%s is held against no earlier night: %s", names[1], error)
        return None
    if not found.regressions and not found.is_something_missing:
        return None
    return Drop(_message(found, *names), _worse(found))


def _message(found: ReportComparison, good: str, tonight: str) -> str:
    worse = found.regressions
    lines = [
        f"{tonight}: {len(worse)} of {len(found.changes)} comparisons with {good}, the last good night, show a drop. "
        f"Below, the first report is that of {good}, the second that of {tonight}."
    ]
    lines += [f"- {change.first:.1f} to {change.second:.1f}: {change.sentence}" for change in worse[:_MOST_LINES]]
    if len(worse) > _MOST_LINES:
        lines.append(f"- and {len(worse) - _MOST_LINES} more")
    if found.only_first:
        lines.append(f"Gone: {', '.join(found.only_first[:_MOST_LINES])}")
    if lost := sum(change.only_first for change in found.changes):
        lines.append(f"Gone: {lost:,} scores of single items")
    return "\n".join(lines)


def _worse(found: ReportComparison) -> dict[str, Any]:
    everything = found.as_json()
    worse = [change for change in everything["changes"] if change["verdict"] == "worse"]
    gone = everything["only_first"][:_MOST_LINES]
    return {"changes": worse[:_MOST_LINES], "regressions": len(worse), "only_first": gone}
