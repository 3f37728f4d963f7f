"""The counts of the data as tables; every number comes from `DataCounts` or `ReferenceScores`."""

from collections import Counter
from collections.abc import Mapping

from cc_tuning.document.blocks import MISSING, Cell, Table, count, number, numeric
from cc_tuning.report.data_card.counts import ALL, LENGTHS, ORIGINS, UNKNOWN, DataCounts
from cc_tuning.report.data_card.references import ReferenceScores
from cc_tuning.runtime.stage_table import STAGES
from cc_tuning.text.languages import all_languages
from data_contracts.schemas import TASKS

_NAMED_LANGUAGES = 8


def language_title(language: str) -> str:
    """`swa Swahili`; a code of several rows of the table has all their names."""
    if language == ALL:
        return "all languages"
    names = [row.name for row in all_languages() if row.aya_code == language]
    return f"{language} {' / '.join(names)}" if names else "unknown language"


def language_table(data: DataCounts) -> Table:
    """Rows by language: through the stages, where their English comes from, and what was set aside."""
    has_english = {origin for _, origin in data.origins}
    origins = [origin for origin in ORIGINS if origin in has_english]
    has_read, has_quality, has_rows = bool(data.read), bool(data.quality), bool(data.training_rows)
    stages = [stage for stage in STAGES if data.rows_set_aside(stage)]
    columns = ["language", *["read"] * has_read, "chosen", "near-duplicates", "pairs"]
    columns += [f"English: {origin}" for origin in origins]
    columns += ["mean quality"] * has_quality + ["training rows"] * has_rows
    columns += [f"set aside: {stage}" for stage in stages]
    rows = []
    for language in (ALL, *data.languages):
        numbers = [data.read.get(language)] * has_read
        numbers += [at.get(language) for at in (data.chosen, data.near_duplicates, data.pairs)]
        numbers += [data.origins.get((language, origin)) for origin in origins]
        cells = [numeric(count(value or 0)) for value in numbers]
        cells += [numeric(number(data.quality.get(language)))] * has_quality
        cells += [numeric(count(data.training_rows.get(language, 0)))] * has_rows
        cells += [numeric(count(data.rows_set_aside(stage, language))) for stage in stages]
        rows.append([Cell(language_title(language)), *cells])
    return Table("data-languages", "By language", columns, rows, _language_note(has_quality, has_rows))


def _language_note(has_quality: bool, has_rows: bool) -> str:
    sentences = [
        "Chosen rows came from the source into the experiment; near-duplicates among them differ from another one in "
        "case, punctuation and blanks only. Pairs have their English too. English is that of the "
        "row itself (english), came with the source (given), or was made by the translator (translated)."
    ]
    if has_quality:
        sentences.append("Quality is the mean over translated pairs, 0 to 1.")
    if has_rows:
        sentences.append("Training rows are the pairs that fit the cut-offs, without rows that a setting adds.")
    return " ".join(sentences)


def task_table(data: DataCounts) -> Table | None:
    """Training rows by data setting and task; None when no setting adds a row to the pairs."""
    settings = dict.fromkeys(setting for setting, _ in data.tasks)
    tasks = [task for task in TASKS if any(data.tasks.get((setting, task)) for setting in settings)]
    if len(tasks) < 2:
        return None
    rows = []
    for setting in settings:
        counts = [data.tasks.get((setting, task), 0) for task in tasks]
        title = "plain" if setting == "plain" else f"+{setting.upper()}"
        rows.append([Cell(title), *(numeric(count(rows_of)) for rows_of in (sum(counts), *counts))])
    note = "Training rows of each data setting by task; native rows are the pairs themselves."
    return Table("data-tasks", "By task", ["setting", "rows", *tasks], rows, note)


def set_aside_table(data: DataCounts) -> Table | None:
    """Rows set aside, by stage and rule, with their languages; None when there are none."""
    by_rule: dict[tuple[str, str], Counter[str]] = {}
    for part in data.set_aside:
        by_rule.setdefault((part.stage, part.rule), Counter())[part.language] += part.rows
    rows = [
        [Cell(rule, stage), numeric(count(counts.total())), Cell(_languages_text(counts))]
        for (stage, rule), counts in sorted(by_rule.items(), key=lambda at: (list(STAGES).index(at[0][0]), at[0][1]))
    ]
    return Table("data-set-aside", "Set aside, by rule", ["rule", "rows", "languages"], rows) if rows else None


def length_table(data: DataCounts, is_folded: bool) -> Table | None:
    """How long prompts and responses are; None when there is no row."""
    names = [name for name in LENGTHS if name in data.lengths]
    rows = []
    for language in (ALL, *data.languages):
        cells = []
        for name in names:
            lengths = data.lengths[name].get(language)
            if lengths is None:
                cells.append(numeric(MISSING))
            else:
                longer = f"90 % {count(lengths.ninth_decile)} · max {count(lengths.longest)}"
                cells.append(numeric(count(lengths.median), longer))
        rows.append([Cell(language_title(language)), *cells])
    note = (
        "Median, and below it the length that nine in ten rows do not pass and the longest. Characters are Unicode "
        "code points of all pairs; tokens are those of training rows, a prompt's with its chat template, a response's "
        "with the token that ends it and after the cut-off."
    )
    columns = ["language", *names]
    return Table("data-lengths", "Lengths, by language", columns, rows, note, is_folded) if names else None


def flag_table(data: DataCounts) -> Table | None:
    """Translated pairs by flag of their checks; None when no pair has one."""
    totals = {flag: rows for (language, flag), rows in data.flags.items() if language == ALL}
    translated = data.origins.get((ALL, "translated"), 0)
    rows = [
        [
            Cell(flag),
            numeric(count(total)),
            numeric(f"{number(100 * total / translated, 1)} %" if translated else MISSING),
            Cell(_languages_text({at: rows for (at, named), rows in data.flags.items() if named == flag and at})),
        ]
        for flag, total in sorted(totals.items(), key=lambda at: (-at[1], at[0]))
    ]
    columns = ["flag", "pairs", "of translated pairs", "languages"]
    return Table("data-flags", "Flags of translations", columns, rows) if rows else None


def score_table(scores: ReferenceScores) -> Table:
    """chrF++ and BLEU of the translations that have a reference."""
    languages = sorted(scores.by_language, key=lambda at: (at != ALL, at))
    rows = [
        [Cell(language_title(at)), *map(numeric, (count(score.prompts), number(score.chrf, 1), number(score.bleu, 1)))]
        for at, score in ((at, scores.by_language[at]) for at in languages)
    ]
    counted = f"Counted by sacrebleu: {'; '.join(scores.signatures)}."
    note = f"{counted} References of no translated prompt: {count(scores.unmatched)}."
    return Table("data-scores", "Beside the references", ["language", "prompts", "chrF++", "BLEU"], rows, note)


def _languages_text(counts: Mapping[str, int]) -> str:
    """The languages with most rows: `swa 12, hin 3 and 4 more`."""
    ranked = sorted(counts, key=lambda at: (-counts[at], at == UNKNOWN, at))
    text = ", ".join(f"{language} {count(counts[language])}" for language in ranked[:_NAMED_LANGUAGES])
    return text if len(ranked) <= _NAMED_LANGUAGES else f"{text} and {len(ranked) - _NAMED_LANGUAGES} more"
