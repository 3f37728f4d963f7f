"""Rows that ask the same in Spanish and in English, and instructions to measure by, made of human translations.

    python benchmarks/spanish_pairs.py SHARED_DATA OUTPUT

A hub's instruction data are not at hand where there is no network; texts that people translated sentence by sentence
are. Each becomes a question about the text itself, whose answer is the text's other part, so that prompt and answer
stand in both languages and nothing was translated by a machine:

    news (NTREX-128, CC BY-SA 4.0)       the second half of a sentence; the sentence after it in its document
    stories (XStoryCloze, CC BY-SA 4.0)  the ending that people wrote; the second half before it
    school maths (MGSM, CC BY 4.0)       what is asked in the end of the problem
    exams (MMMLU, MIT)                   the text of the right option, without the options

The two halves of a sentence are its words in their order, so a half in one language has not always the words of the
half in the other. Whole documents and items are held out: `pairs.jsonl` is for training (Aya's columns, in an order of
hashes), `instructions/` asks the same of the others, and `open/` holds questions of OpenAssistant that people
translated (HPLT, CC BY-NC 4.0). They have no answer, so their reference is a dash, and only the language of what is
answered can be measured on them.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

ENGLISH, TARGET = "en", "es"
HELD_OUT_DOCUMENTS = frozenset({"nytimes.184837", "telegraph.405401", "newsweek.51331"})
HELD_OUT_FROM = 75
"""Stories, problems and questions of the benchmarks from this number on are measured by."""
LONGEST = 280
"""Characters of prompt and answer together, in either language."""
MEASURED = 48
"""Instructions at most, the first in the order of hashes."""
_SENTENCE = re.compile(r"(?<=[.!?])\s*(?=[¿¡\"«A-ZÁÉÍÓÚÑ])")

ASKED = {
    "rest": ("Continue this sentence:\n{}", "Continúa esta frase:\n{}"),
    "next": ("Which sentence could come next in this report?\n{}", "¿Qué frase podría seguir en esta noticia?\n{}"),
    "ending": ("How does this story end?\n{}", "¿Cómo termina esta historia?\n{}"),
    "middle": ("What happens next?\n{}", "¿Qué pasa después?\n{}"),
    "problem": ("What could be asked here?\n{}", "¿Qué se podría preguntar aquí?\n{}"),
    "exam": ("Answer in a few words.\n{}", "Responde en pocas palabras.\n{}"),
}


class Pair(NamedTuple):
    """A question and its answer in English and in the other language; `held_out` ones are measured by."""

    name: str
    task: str
    text_en: str
    answer_en: str
    text: str
    answer: str
    held_out: bool

    @property
    def prompts(self) -> tuple[str, str]:
        """The question in English, and in the other language."""
        english, target = ASKED[self.task]
        return english.format(self.text_en), target.format(self.text)

    @property
    def is_usable(self) -> bool:
        """Whether it is short enough, and its answer is words that differ between the languages."""
        english, target = self.prompts
        longest = max(len(english) + len(self.answer_en), len(target) + len(self.answer))
        return longest <= LONGEST and self.answer != self.answer_en and min(len(self.answer), len(self.answer_en)) >= 12


def of_news(sentences: pl.DataFrame) -> Iterator[Pair]:
    """Halves of sentences, and sentences with the next one of their document."""
    wide = sentences.pivot("language", index=["sent_id", "doc_id"], values="text").sort("sent_id").drop_nulls()
    rows = list(wide.select("sent_id", "doc_id", ENGLISH, TARGET).iter_rows())
    for place, (name, document, english, target) in enumerate(rows):
        held_out = document in HELD_OUT_DOCUMENTS
        first_en, rest_en = halves(english.split())
        first, rest = halves(target.split())
        yield Pair(f"{name}-rest", "rest", first_en, rest_en, first, rest, held_out)
        after = rows[place + 1] if place + 1 < len(rows) else None
        if after and after[1] == document:
            yield Pair(f"{name}-next", "next", english, after[2], target, after[3], held_out)


def halves(words: list[str]) -> tuple[str, str]:
    """The first half of the words, and the others."""
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def of_stories(items: pl.DataFrame) -> Iterator[Pair]:
    """Stories with the ending that people wrote, and their beginnings with what comes before that."""
    for name, prompt_en, prompt, answers in of_target(items):
        (story_en, *options_en), (story, *options) = lines_of(prompt_en, 2), lines_of(prompt, 2)
        right = int(answers[0]) - 1
        held_out = number_of(name) >= HELD_OUT_FROM
        told_en, told = sentences_of(story_en), sentences_of(story)
        whole_en, whole = " ".join(told_en), " ".join(told)
        yield Pair(f"{name}-ending", "ending", whole_en, options_en[right], whole, options[right], held_out)
        if len(told) == len(told_en) == 4:
            english, target = (tuple(" ".join(part) for part in (each[:2], each[2:])) for each in (told_en, told))
            yield Pair(f"{name}-middle", "middle", *english, *target, held_out)


def of_exams(items: pl.DataFrame) -> Iterator[Pair]:
    """The last line of each question with the text of the right option."""
    for name, prompt_en, prompt, answers in of_target(items):
        right, held_out = "ABCD".index(answers[0]), number_of(name) >= HELD_OUT_FROM
        (question_en, *options_en), (question, *options) = lines_of(prompt_en, 4), lines_of(prompt, 4)
        yield Pair(name, "exam", question_en, options_en[right], question, options[right], held_out)


def of_problems(rows: pl.DataFrame) -> Iterator[Pair]:
    """Problems of school maths without their last sentence, which is the answer."""
    for name, problem_en, problem in rows.select("id", "inputs_en", "inputs").iter_rows():
        told_en, told = sentences_of(problem_en), sentences_of(problem)
        if min(len(told_en), len(told)) > 1:
            english, target = ((" ".join(each[:-1]), each[-1]) for each in (told_en, told))
            yield Pair(name, "problem", *english, *target, number_of(name) >= HELD_OUT_FROM)


def of_target(items: pl.DataFrame) -> Iterator[tuple[str, str, str, list[str]]]:
    """Name, English prompt, prompt and answers of the items in the other language."""
    rows = items.filter(pl.col("language") == TARGET).sort("item_id")
    return rows.select("item_id", "prompt_en", "prompt", "answers").iter_rows()


def lines_of(prompt: str, options: int) -> list[str]:
    """The last line before the options, and the texts of the options."""
    lines = prompt.splitlines()
    place = next(place for place, line in enumerate(lines) if re.match(r"\((1|A)\)", line))
    return [lines[place - 1], *(line[3:].strip() for line in lines[place : place + options])]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, some of which follow each other without a blank."""
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]


def number_of(name: str) -> int:
    """`mgsm-061` is 61."""
    return int(name.rsplit("-", 1)[1])


def as_row(pair: Pair) -> dict[str, str]:
    """A training row in Aya's schema."""
    english, target = pair.prompts
    return {
        "id": pair.name, "language": "Spanish", "language_code": "spa", "annotation_type": pair.task, "user_id": "",
        "inputs": target, "targets": pair.answer, "inputs_en": english, "targets_en": pair.answer_en,
    }  # fmt: skip


def item(name: str, language: str, prompt: str, prompt_en: str, answer: str, cluster: str) -> dict[str, object]:
    """A benchmark item in the form of AlpacaEval's: an instruction with a reference answer."""
    return {
        "benchmark": "AlpacaEval", "language": language, "item_id": name, "prompt": prompt, "prompt_en": prompt_en,
        "answers": [answer], "choices_kind": "instruction", "choices": None, "group": cluster.split("-")[0],
        "cluster": cluster,
    }  # fmt: skip


def write_items(items: list[dict[str, object]], folder: Path) -> None:
    """One parquet file of items."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = dict.fromkeys(items[0], pl.String) | {"answers": pl.List(pl.String), "choices": pl.List(pl.String)}
    pl.DataFrame(items, schema=schema).write_parquet(folder / "items.parquet")


def pairs_of(data: Path) -> list[Pair]:
    """All usable pairs of the folder, in the order of their names' hashes."""
    news = pl.concat(pl.read_parquet(data / "parallel" / f"ntrex_{each}.parquet") for each in ("200x22", "40x63"))
    problems = pl.read_parquet(data / "aya_like" / "aya_like_parallel.parquet")
    made = [
        *of_news(news.filter(pl.col("language").is_in([ENGLISH, TARGET]))),
        *of_stories(pl.read_parquet(data / "benchmarks" / "xstorycloze.parquet")),
        *of_exams(pl.read_parquet(data / "benchmarks" / "mmmlu.parquet")),
        *of_problems(problems.filter(pl.col("source") == "MGSM", pl.col("language_code") == "spa")),
    ]
    usable = (pair for pair in made if pair.is_usable)
    return sorted(usable, key=lambda pair: hashlib.sha256(pair.name.encode()).digest())


def instructions_of(held_out: Iterable[Pair]) -> list[dict[str, object]]:
    """Two items of each pair, one in each language."""
    return [
        item(pair.name, language, prompt, pair.prompts[0], answer, pair.name.removesuffix(f"-{pair.task}"))
        for pair in held_out
        for language, prompt, answer in zip((ENGLISH, TARGET), pair.prompts, (pair.answer_en, pair.answer), strict=True)
    ]


def open_items_of(questions: pl.DataFrame) -> list[dict[str, object]]:
    """Two items of each question of OpenAssistant in the other language."""
    return [
        item(f"open-{name}", language, prompt, english, "-", f"open-{name}")
        for name, target, english in questions.select("id", "inputs", "inputs_en").iter_rows()
        for language, prompt in ((ENGLISH, english), (TARGET, target))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared_data", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    pairs, output = pairs_of(arguments.shared_data), arguments.output
    output.mkdir(parents=True, exist_ok=True)
    rows = [as_row(pair) for pair in pairs if not pair.held_out]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (output / "pairs.jsonl").write_text(lines, encoding="utf-8")
    measured = instructions_of([pair for pair in pairs if pair.held_out][:MEASURED])
    write_items(measured, output / "instructions")
    questions = pl.read_parquet(arguments.shared_data / "aya_like" / "open_prompts.parquet")
    asked = open_items_of(questions.filter(pl.col("language_code") == "spa"))
    write_items(asked, output / "open")
    tasks = {task: sum(row["annotation_type"] == task for row in rows) for task in ASKED}
    print(f"{len(rows)} rows {tasks}; {len(measured) // 2} instructions; {len(asked) // 2} open questions")


if __name__ == "__main__":
    main()
