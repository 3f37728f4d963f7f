"""Where the benchmark items are from: data sets, commits, licences, what to cite, what was done about faults."""

from collections import Counter
from collections.abc import Mapping

from cc_tuning.document.blocks import MISSING, Cell, Section, Table, count, numeric
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.sources.records import SourceRecord
from cc_tuning.report.evidence import Evidence

_KINDS = {"mended": "mended", "set_aside": "set aside", "left_out": "left out"}


def source_part(evidence: Evidence) -> Section | None:
    """Tables of the sources and of their faults; None where the items are the user's own or the embedded ones."""
    sources = {name: evidence.sources[name] for name in BENCHMARKS if name in evidence.sources}
    if not sources:
        return None
    tables = [_source_table(sources)]
    if faults := _fault_table(sources):
        tables.append(faults)
    text = "Items are made of these published data sets, each at one commit, with prompts in the words of this project."
    return Section("sources", "Benchmarks", [text, *_terms(sources)], tables)


def _terms(sources: Mapping[str, SourceRecord]) -> list[str]:
    names = [name for name, source in sources.items() if source.is_non_commercial]
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [f"{' and '.join(names)} {verb} for non-commercial use only."]


def _source_table(sources: Mapping[str, SourceRecord]) -> Table:
    rows = []
    for name, source in sources.items():
        licence = f"{source.licence} (non-commercial)" if source.is_non_commercial else source.licence
        rows.append(
            [
                Cell(name, source.citation),
                Cell(licence, source.licence_note),
                numeric(count(source.items)),
                Cell(" ".join(source.languages)),
                Cell(_rule(source)),
                Cell("\n".join(source.repositories)),
            ]
        )
    columns = ["benchmark", "licence", "items", "languages", "sample", "repository, commit"]
    return Table("sources", "Published data sets", columns, rows)


def _rule(source: SourceRecord) -> str:
    if source.items_per_language is None:
        return "whole"
    drawn = f"drawn, seed {source.sample_seed}" if source.sample == "seeded" else "the first"
    whose = "the same in every language" if source.is_parallel else "of each language's own"
    return f"at most {source.items_per_language:,}, {drawn}, {whose}"


def _fault_table(sources: Mapping[str, SourceRecord]) -> Table | None:
    """Rows by benchmark, what was done, and rule, with the languages they are in; None without any."""
    rows = []
    for name, source in sources.items():
        for kind, title in _KINDS.items():
            totals: Counter[str] = Counter()
            where: dict[str, list[str]] = {}
            for language, record in source.languages.items():
                for rule, rows_of_rule in getattr(record, kind).items():
                    totals[rule] += rows_of_rule
                    where.setdefault(rule, []).append(language)
            for rule, total in sorted(totals.items()):
                everywhere = len(where[rule]) == len(source.languages)
                places = "all" if everywhere else " ".join(where[rule])
                rows.append([Cell(name), Cell(title), Cell(rule), numeric(count(total)), Cell(places or MISSING)])
    note = "docs/benchmarks.md says what each rule is. Left out are sound rows that are not asked about."
    columns = ["benchmark", "what was done", "rule", "rows", "languages"]
    return Table("source-faults", "Known faults, by rule", columns, rows, note, is_folded=True) if rows else None
