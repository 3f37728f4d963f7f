"""Runs that are moved into a language (Lee et al. 2025): how good they are there, and what becomes of their English.

A table for each language, with the paper's figures in a row below ours where it has them; the differences from SFT and
SFT+DPO; what the judge of the win rates said; the margins of the preferences over training; and, where a recipe trains
one method on several numbers of pairs, its curve over them.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from matplotlib.axes import Axes

from cc_tuning.document.axes import add_legend, draw_lines, draw_svg, label_powers
from cc_tuning.document.blocks import MISSING, Cell, Figure, Section, Table, count, number, numeric
from cc_tuning.report import transfer as moved
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import language_label, metric_label
from cc_tuning.report.parts.transfer_differences import against_table, language_sentences
from cc_tuning.report.published_transfer import TRANSFER_PAPER, WIN_RATE, PublishedTransfer
from cc_tuning.report.run_evidence import TrainingLog
from cc_tuning.report.transfer import Column, Transfer

_TEXT = (
    "A win rate is the share of instructions to which a run's answer was judged better than its baseline's, a tie "
    "counting half; each pair was judged in both orders, and the error is that of the mean over instructions. Where "
    f"{TRANSFER_PAPER} prints a figure of the same model, method and language, it stands below ours."
)
_EVEN = 50.0
_JUDGED = ("wins", "losses", "ties", "refused", "open")


def transfer_part(evidence: Evidence) -> Section | None:
    """Tables and figures of every language that runs are moved into; None where there is none, or nothing measured."""
    found = [transfer for transfer in moved.transfers(evidence) if transfer.columns]
    if not found:
        return None
    blocks: list[Table | Figure] = []
    for transfer in found:
        blocks.append(_score_table(transfer))
        others = (against_table(transfer), _judge_table(transfer), _margin_figure(transfer), _sweep_figure(transfer))
        blocks += [block for block in others if block is not None]
    sentences = [sentence for transfer in found for sentence in (*_sentences(transfer), *language_sentences(transfer))]
    return Section("transfer", "Moved into a language", [_TEXT, *sentences], blocks)


def _title(column: Column) -> str:
    name = "win rate" if column.metric == WIN_RATE else metric_label(column.metric)
    return f"{column.benchmark} {name}, {language_label(column.language)}"


def _score_table(transfer: Transfer) -> Table:
    columns, notes = transfer.columns, dict[str, int]()
    rows, tags = [], []
    for family in (*transfer.origins, *transfer.families):
        figures = [transfer.figure(family, column) for column in columns]
        if any(figures):
            rows.append([Cell(family.label, _pairs(family)), *map(_cell, figures)])
            tags.append({"run": family.name})
        printed = [transfer.printed(family, column) for column in columns]
        if any(printed):
            rows.append([Cell(family.label, "paper"), *(_paper_cell(each, notes) for each in printed)])
            tags.append({"run": family.name})
    note = " ".join(f"({at}) {text}." for text, at in notes.items())
    language = language_label(transfer.target)
    titles = ["method", *map(_title, columns)]
    return Table(f"transfer-{transfer.target}", f"Into {language}", titles, rows, note, row_tags=tags)


def _pairs(family: Family) -> str:
    return f"{count(family.runs[0].pairs)} pairs asked for" if family.runs[0].target else "no pairs"


def _cell(figure: moved.Figure | None) -> Cell:
    if figure is None:
        return numeric(MISSING)
    detail = f"± {number(figure.error, 2)}" if figure.error is not None else ""
    if not detail and figure.low < figure.high:
        detail = f"[{number(figure.low, 1)}, {number(figure.high, 1)}]"
    if len(figure.by_seed) > 1:
        detail += f"\nseeds {number(min(figure.by_seed), 1)} to {number(max(figure.by_seed), 1)}"
    return numeric(number(figure.value, 1), detail, value=figure.value, bounds=(figure.low, figure.high))


def _paper_cell(printed: PublishedTransfer | None, notes: dict[str, int]) -> Cell:
    if printed is None:
        return numeric(MISSING)
    mark = f" ({notes.setdefault(printed.note, len(notes) + 1)})" if printed.note else ""
    detail = f"± {number(printed.error, 2)}" if printed.error is not None else ""
    return numeric(number(printed.value, 1) + mark, detail, value=printed.value)


def _judge_table(transfer: Transfer) -> Table | None:
    """What the verdicts behind the win rates were, the seeds of a family together."""
    rows = []
    for family in transfer.families:
        judged = transfer.judgements(family)
        if judged.is_empty():
            continue
        for (benchmark, language), of in judged.group_by("benchmark", "language", maintain_order=True):
            shares = [of[name].mean() for name in ("agreement", "first_preferred")]
            tokens = int(of["prompt_tokens"].sum()) + int(of["completion_tokens"].sum())
            rows.append(
                [
                    Cell(family.label, f"{benchmark}, {language_label(str(language))}"),
                    *(numeric(count(int(of[name].sum())), value=float(of[name].sum())) for name in _JUDGED),
                    *map(_share, shares),
                    numeric(count(tokens), value=float(tokens)),
                ]
            )
    columns = [
        "method", "wins", "losses", "ties", "refused", "without a verdict", "orders agree (%)",
        "prefers the first shown (%)", "tokens of the judge",
    ]  # fmt: skip
    note = "Verdicts on each instruction in both orders. A judge without a favourite place prefers the first in 50 %."
    title = f"The judge, {language_label(transfer.target)}"
    return Table(f"judge-{transfer.target}", title, columns, rows, note, is_folded=True) if rows else None


def _share(value: object) -> Cell:
    return numeric(number(value, 1), value=value) if isinstance(value, float) else numeric(MISSING)


def _margin_figure(transfer: Transfer) -> Figure | None:
    """How far each preference is from the reference model's over the steps, in the target language and in English."""
    series: list[tuple[str, Sequence[TrainingLog], str]] = []
    for family in transfer.families:
        logs = [at.training for at in transfer.evidence.of(family) if at.training and at.training.margins]
        if logs:
            series += [(f"{family.label}, z of the target", logs, "margins"),
                       (f"{family.label}, z of English", logs, "english_margins")]  # fmt: skip
    if not series:
        return None

    def draw(axes: Axes) -> None:
        for index, (label, logs, name) in enumerate(series):
            # A step without rows of a kind logs nothing, so the margins may be fewer than the steps.
            lines = [(log.steps[-len(getattr(log, name)) :], getattr(log, name)) for log in logs]
            draw_lines(axes, lines, label, index)
        axes.set(xlabel="optimizer step", ylabel="margin z (times beta, nats)")
        add_legend(axes)

    ends = "; ".join(f"{label} {_ends([getattr(log, name) for log in logs])}" for label, logs, name in series)
    key = f"margins-{transfer.target}"
    alternative = f"Line chart of the preference margins over steps: {ends}."
    return Figure(
        key, f"Margins in training, {language_label(transfer.target)}", alternative, draw_svg(key, draw),
        "z is how much more likely than the reference model the run finds the answer in the prompt's language, beside "
        "the other one.",
    )  # fmt: skip


def _ends(lines: Sequence[Sequence[float]]) -> str:
    """Where lines begin and end; with several seeds, on average over them."""
    first, last = (number(fmean(line[at] for line in lines), 3) for at in (0, -1))
    return f"{'on average ' * (len(lines) > 1)}from {first} to {last}"


def _sweep_figure(transfer: Transfer) -> Figure | None:
    """A method's first figure over the number of pairs it learnt; None where no method has two numbers."""
    column = transfer.columns[0]
    curves: dict[str, dict[int, float]] = {}
    for family in transfer.families:
        figure = transfer.figure(family, column)
        if figure is not None:
            curves.setdefault(family.runs[0].method, {})[family.runs[0].pairs] = figure.value
    curves = {method: dict(sorted(points.items())) for method, points in curves.items() if len(points) > 1}
    if not curves:
        return None

    def draw(axes: Axes) -> None:
        for index, (method, points) in enumerate(curves.items()):
            draw_lines(axes, [(list(points), list(points.values()))], method, index, marks=len(points))
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(min(points) for points in curves.values()) / 1.1,
                      max(max(points) for points in curves.values()) * 1.1)  # fmt: skip
        label_powers(axes.xaxis)
        axes.set(xlabel="pairs", ylabel=f"{_title(column)} (%)")
        add_legend(axes)

    said = "; ".join(
        f"{method} " + ", ".join(f"{number(value, 1)} with {count(pairs)}" for pairs, value in points.items())
        for method, points in curves.items()
    )
    key = f"sweep-{transfer.target}"
    alternative = f"Line chart of {_title(column)} over the number of pairs: {said}."
    return Figure(key, f"Fewer pairs, {language_label(transfer.target)}", alternative, draw_svg(key, draw))


def _sentences(transfer: Transfer) -> Iterator[str]:
    """What the win rates say, as far as two standard errors let them; of methods that are compared with CLO only where
    they tell two runs apart."""
    labels = {family.name: family.label for family in transfer.evidence.families}
    for family in transfer.families:
        against = labels.get(family.baseline)
        for column in transfer.columns:
            figure = transfer.figure(family, column)
            if column.metric != WIN_RATE or figure is None or figure.error is None or not against:
                continue
            if math.isclose(figure.error, 0) or figure.low <= _EVEN <= figure.high:
                if not family.runs[0].method.startswith("CLO"):
                    continue
                verdict = "not told apart from"
            else:
                verdict = "better than" if figure.value > _EVEN else "worse than"
            yield (
                f"{language_label(column.language)}, {column.benchmark}: the answers of {family.label} are judged "
                f"{verdict} those of {against} ({number(figure.value, 1)} % ± {number(figure.error, 2)})."
            )
