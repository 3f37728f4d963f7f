"""Content or bias: what part of the connection's effect depends on the English prompt being that of the item.

A vector that is added to every prompt can help without saying anything about the prompt. Two controls tell the two
apart. `other` adds the activation of another item's English prompt: what the right one gains over it is content, and
nothing else can be. `constant` adds the mean of what the real English prompts add: what it gains over nothing is bias.
Both are measured by the likelihood of the gold answer, which moves with every item.
"""

from collections.abc import Iterator

from cc_tuning.document.blocks import Cell, Section, Table
from cc_tuning.report.cells import measure_title
from cc_tuning.report.config import Family
from cc_tuning.report.connection_modes import (
    CONSTANT,
    IDENTITY,
    OTHER,
    ConnectionModes,
    gain_cell,
    interval,
    signed,
    unit_of,
)
from cc_tuning.report.effects import Gain
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS, OFF, PARALLEL, TRANSFORM, listed
from cc_tuning.report.scores import Measure

_TEXT = (
    "Gains by the likelihood of the gold answer, over the connection off. Content is what the item's own English "
    "prompt gains over the English prompt of another item: a connection that only shifts the model to English, or to "
    "shorter answers, has none. The constant vector is the mean of what the real English prompts add, so what it gains "
    "is a bias that no prompt is needed for."
)
_NOTE = (
    "All in nats per token, positive where it helps. Content: real English prompt − another item's. Matrix − constant: "
    "what the matrix says about the prompt beyond a bias."
)
_CONTROLS = (OTHER, CONSTANT, IDENTITY)


def control_part(evidence: Evidence) -> Section | None:
    """Gains of the controls and what they leave of the connection's; None where no control was measured."""
    modes = ConnectionModes(evidence.results)
    families = [family for family in modes.families if set(modes.of(family)) & set(_CONTROLS)]
    if not families or not modes.likelihood_measures:
        return None
    kinds = [CONNECTION_LABELS[mode] for mode in (PARALLEL, TRANSFORM, *_CONTROLS)]
    columns = ["run", *kinds, "content", "matrix − constant", "reading"]
    named = [(family, measure) for family in families for measure in modes.likelihood_measures]
    rows = [_row(modes, family, measure) for family, measure in named]
    tags = [{"run": family.name} for family, _ in named]
    table = Table("controls", "The connection beside its controls", columns, rows, _NOTE, row_tags=tags)
    sentences = [sentence for family in families for sentence in _sentences(modes, family)]
    return Section("controls", "Content or bias", [_TEXT, *sentences], [table])


def reading(content: Gain | None, gain: Gain | None) -> str:
    """What content (parallel − other) and gain (parallel − off) say together, in a few words."""
    if content is None or gain is None:
        return "not measured"
    if content.verdict == "better":
        return {
            "better": "content that helps",
            "undecided": "content, no clear gain",
            "worse": "content, which does not make up for what the vector costs",
        }[gain.verdict]
    if content.verdict == "worse":
        return "another item's prompt does better"
    return {
        "better": "a bias that helps; no content shown",
        "undecided": "neither content nor gain shown",
        "worse": "a bias that hurts; no content shown",
    }[gain.verdict]


def _row(modes: ConnectionModes, family: Family, measure: Measure) -> list[Cell]:
    gains = [modes.gain(family, measure, mode) for mode in (PARALLEL, TRANSFORM, *_CONTROLS)]
    content = modes.gain(family, measure, PARALLEL, OTHER)
    beyond = modes.gain(family, measure, TRANSFORM, CONSTANT)
    return [
        Cell(family.label, measure_title(measure)),
        *(gain_cell(each, measure) for each in (*gains, content, beyond)),
        Cell(reading(content, gains[0])),
    ]


def _sentences(modes: ConnectionModes, family: Family) -> Iterator[str]:
    """What the table says of a family, in words: where there is content, how much, and whether the matrix has any."""
    measures = modes.likelihood_measures
    contents = {at: gain for at in measures if (gain := modes.gain(family, at, PARALLEL, OTHER))}
    if contents:
        shown = [_with_size(gain, at) for at, gain in contents.items() if gain.verdict == "better"]
        said = f"on {listed(shown)}" if shown else "on none of them"
        yield (
            f"{family.label}: of {len(contents)} benchmark{'s' * (len(contents) != 1)} the channel carries content "
            f"that these items can show {said}.{_smallest(contents)}"
        )
    beyond = {at: gain for at in measures if (gain := modes.gain(family, at, TRANSFORM, CONSTANT))}
    if beyond:
        better = [at.benchmark for at, gain in beyond.items() if gain.verdict == "better"]
        worse = [at.benchmark for at, gain in beyond.items() if gain.verdict == "worse"]
        yield (
            f"{family.label}: the Transform Matrix does better than a constant vector on {listed(better or ['none'])} "
            f"and worse on {listed(worse or ['none'])}."
        )
    biases = {at: gain for at in measures if (gain := modes.gain(family, at, CONSTANT, OFF))}
    if helped := [at.benchmark for at, gain in biases.items() if gain.verdict == "better"]:
        yield f"{family.label}: a constant vector alone helps on {listed(helped)}, which is a bias and no transfer."


def _with_size(gain: Gain, measure: Measure) -> str:
    return f"{measure.benchmark} ({signed(gain.value, measure)} {unit_of(measure)} [{interval(gain, measure)}])"


def _smallest(contents: dict[Measure, Gain]) -> str:
    """How far the intervals reach where nothing was shown, so that no evidence is not read as evidence of nothing."""
    hidden = {at: gain for at, gain in contents.items() if gain.verdict == "undecided"}
    if not hidden:
        return ""
    measure, gain = max(hidden.items(), key=lambda each: each[1].high)
    return f" Where nothing is shown, up to {signed(gain.high, measure)} {unit_of(measure)} remain possible."
