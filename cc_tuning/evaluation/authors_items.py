"""Items in the layout of the release of Ye et al. 2025: prompts and answers in files of JSON lines.

    XNLI/split_sample/<language>.json       {"instruction": PROMPT} on each line
    XNLI/ans_sample/<language>.json         the answer of the same line: a text, or the list of its aliases
    XLSum/split_sample_en/<language>.json   the English versions of prompts that `en` does not have

Line numbers are the ids. They are the same item in every language, but of XLSum, where each language has its own. A
folder may end in `_sample` or not; a benchmark that has both has its sample read, which is what the paper measures.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from data_contracts.errors import ContractViolation

FoundT = TypeVar("FoundT")

_ENDINGS = ("_sample", "")
_NOT_PARALLEL = ("XLSum",)
_SCHEMA: dict[str, Any] = {
    "benchmark": pl.String, "language": pl.String, "item_id": pl.String, "prompt": pl.String, "prompt_en": pl.String,
    "answers": pl.List(pl.String), "choices_kind": pl.String,
}  # fmt: skip


def has_authors_layout(directory: Path) -> bool:
    """Whether a benchmark's folder in `directory` has prompts as the authors publish them."""
    return any(_prompts_folder(folder) for folder in _benchmark_folders(directory).values())


def read_authors_items(directory: Path) -> Iterator[pl.DataFrame]:
    """One frame per benchmark and language, with the columns of BenchmarkItem that the release decides.

    Raises:
        ContractViolation: prompts and answers are not as many, a file of either is absent, or a line is not what it
            should be.
    """
    for benchmark, folder in _benchmark_folders(directory).items():
        prompts = _prompts_folder(folder)
        if prompts is None:
            continue
        english = _prompts_of(prompts / "en.json") if (prompts / "en.json").is_file() else None
        for file in _prompt_files(prompts):
            yield _read_language(benchmark, prompts, file, english)


def _read_language(benchmark: str, prompts: Path, file: Path, english: list[str] | None) -> pl.DataFrame:
    language, is_parallel = file.stem, benchmark not in _NOT_PARALLEL
    texts, answers = _prompts_of(file), _answers_of(_answers_folder(prompts) / file.name)
    if not is_parallel:
        translated = prompts.with_name(f"{prompts.name}_en") / file.name
        english = _prompts_of(translated) if translated.is_file() else None
    counts = {len(texts), len(answers), len(texts if english is None else english)}
    if len(counts) > 1:
        raise ContractViolation(
            f"{file}: {len(texts)} prompts, {len(answers)} answers, "
            f"{'no' if english is None else len(english)} English prompts; expected one of each on the same lines"
        )
    name = benchmark.lower() if is_parallel else f"{benchmark.lower()}-{language}"
    return pl.DataFrame(
        {
            "benchmark": benchmark,
            "language": language,
            "item_id": [f"{name}-{line:04d}" for line in range(len(texts))],
            "prompt": texts,
            "prompt_en": english if english is not None else [None] * len(texts),
            "answers": answers,
            "choices_kind": BENCHMARKS[benchmark].choices_kind,
        },
        schema=_SCHEMA,
    )


def _benchmark_folders(directory: Path) -> dict[str, Path]:
    """By benchmark, whatever the case and the marks in a folder's name (`xnli`, `XL-Sum`)."""
    names = {name.lower(): name for name in BENCHMARKS}
    folders = sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    found: dict[str, Path] = {}
    for path in folders:
        if (benchmark := names.get("".join(filter(str.isalnum, path.name.lower())))) is None:
            continue
        if benchmark in found and _prompts_folder(path) and _prompts_folder(found[benchmark]):
            raise ContractViolation(f"{path} and {found[benchmark]} are both {benchmark}; leave one of the two")
        if benchmark not in found or _prompts_folder(path):
            found[benchmark] = path
    return found


def _prompts_folder(folder: Path) -> Path | None:
    places = [folder / f"split{ending}" for ending in _ENDINGS]
    return next((place for place in places if _prompt_files(place)), None)


def _prompt_files(folder: Path) -> list[Path]:
    """Sorted; hidden files, which some systems leave beside others, are none."""
    return sorted(path for path in folder.glob("[!.]*.json") if path.is_file())


def _answers_folder(prompts: Path) -> Path:
    return prompts.with_name(prompts.name.replace("split", "ans", 1))


def _prompts_of(path: Path) -> list[str]:
    return [_checked(path, line, value, _prompt_of(value)) for line, value in _values(path)]


def _prompt_of(value: Any) -> str | None:
    prompt = value.get("instruction") if isinstance(value, dict) else None
    return prompt if isinstance(prompt, str) else None


def _answers_of(path: Path) -> list[list[str]]:
    return [_checked(path, line, value, _texts_of(value)) for line, value in _values(path)]


def _texts_of(value: Any) -> list[str] | None:
    texts = value if isinstance(value, list) else [value]
    return texts if texts and all(isinstance(text, str) for text in texts) else None


def _checked(path: Path, line: int, value: Any, found: FoundT | None) -> FoundT:
    if found is None:
        raise ContractViolation(
            f"{path}, line {line + 1}: {str(value)[:200]!r}; expected "
            '{"instruction": PROMPT} in a file of prompts, and a text or a list of texts in a file of answers'
        )
    return found


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        # Lines end at line feeds alone; prompts hold other marks that str.splitlines would cut at.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for number, line in enumerate(lines):
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
            yield number, value
    except FileNotFoundError as error:
        raise ContractViolation(f"{path} is absent; prompts and answers lie in folders beside each other") from error
    except (ValueError, RecursionError) as error:
        raise ContractViolation(f"{path}: not JSON lines in UTF-8 ({error})") from error
