"""What `cc-tuning compare` shows: a table of all changes, what was left out, a sentence for each that is no chance."""

from collections.abc import Collection
from pathlib import Path

from rich.table import Table

from cc_tuning.errors import ConfigError
from cc_tuning.report.comparing import Change, ReportComparison, compare_reports
from cc_tuning.report.names import metric_label
from cc_tuning.report.sentences import decimals_of
from data_contracts.files import write_json
from flows.terminal import console, escaped

_NAMED = 5


def show_comparison(first: Path, second: Path, metrics: Collection[str], json_file: Path | None) -> ReportComparison:
    """Compare two reports, print what changed, and write it to a file where one is named.

    Raises:
        ConfigError: the file cannot be written; otherwise as `compare_reports`.
    """
    found = compare_reports(first, second, metrics)
    if json_file is not None:
        _write(json_file, found)
    _show_table(found)
    _show_left_out(found)
    for change in found.significant:
        console.print(escaped(change.sentence), soft_wrap=True)
    console.print(_conclusion(found), soft_wrap=True)
    return found


def _write(file: Path, found: ReportComparison) -> None:
    # A traceback would end with 1, which says that something got worse.
    try:
        write_json(file, found.as_json())
    except OSError as error:
        raise ConfigError(f"--json {file} cannot be written: {error}; name a file in a folder of yours") from error


def _show_table(found: ReportComparison) -> None:
    interval = f"{found.changes[0].comparison.confidence:.0%} interval"
    columns = ("run", "connection", "measure", "first", "second", "change", interval, "p (Holm)", "items", "")
    table = Table(*columns, box=None, pad_edge=False)
    for change in found.changes:
        table.add_row(*map(escaped, _row(change)))
    console.print(table)


def _row(change: Change) -> list[str]:
    found = change.comparison
    decimals = decimals_of(found.measure)
    return [
        change.run, change.connection, f"{found.measure.benchmark} {metric_label(found.measure.metric)}",
        f"{change.first:.{decimals}f}", f"{change.second:.{decimals}f}", f"{found.value:+.{decimals}f}",
        f"{found.low:+.{decimals}f} to {found.high:+.{decimals}f}", f"{found.p_holm:.4f}", f"{found.items:,}",
        "" if found.verdict == "undecided" else found.verdict,
    ]  # fmt: skip


def _show_left_out(found: ReportComparison) -> None:
    """What only one of the two reports has: items of a comparison, and whole measurements."""
    for name, other, only, of_change in (
        ("first", "second", found.only_first, lambda change: change.only_first),
        ("second", "first", found.only_second, lambda change: change.only_second),
    ):
        lacking = [of_change(change) for change in found.changes if of_change(change)]
        if lacking:
            where = f"in {len(lacking)} comparisons: the {other} lacks their items"
            console.print(f"Left out: {sum(lacking):,} scores of the {name} report {where}.", soft_wrap=True)
        if only:
            more = f" and {len(only) - _NAMED} more" if len(only) > _NAMED else ""
            named = escaped(", ".join(only[:_NAMED]))
            console.print(f"Only the {name} report has: {named}{more}.", soft_wrap=True)


def _conclusion(found: ReportComparison) -> str:
    worse, significant = len(found.regressions), len(found.significant)
    every = f"{len(found.changes)} comparison{'s' * (len(found.changes) != 1)}"
    if not significant:
        return f"Of {every}, none shows a change."
    return f"Of {every}, {significant} show a change: {significant - worse} to the better, {worse} to the worse."
