"""Items in the layout of the authors' release: the same ones as in the published slices, and no half of a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.miniature.text_sources import prompts_of_items
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ContractViolation

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "benchmarks"
WITHOUT_SAMPLE = ("XStoryCloze", "XQuAD")
COLUMNS = ("benchmark", "language", "item_id", "prompt", "prompt_en", "answers", "choices_kind")


def write_lines(path: Path, values: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")


def write_language(folder: Path, ending: str, language: str, prompts: Sequence[str], answers: Sequence[object]) -> None:
    write_lines(folder / f"split{ending}" / f"{language}.json", [{"instruction": prompt} for prompt in prompts])
    write_lines(folder / f"ans{ending}" / f"{language}.json", answers)


def rebuild(directory: Path) -> pl.DataFrame:
    """Write the published slices back into the layout they were taken from; the rows they have."""
    rows = pl.concat(pl.read_parquet(file).select(COLUMNS) for file in sorted(PUBLISHED.glob("*.parquet")))
    for (benchmark, language), group in rows.sort("item_id").group_by("benchmark", "language", maintain_order=True):
        folder, ending = directory / str(benchmark).lower(), "" if benchmark in WITHOUT_SAMPLE else "_sample"
        answers = [found if benchmark == "MKQA" else found[0] for found in group["answers"].to_list()]
        write_language(folder, ending, str(language), group["prompt"].to_list(), answers)
        if benchmark == "XLSum":
            english = [{"instruction": text} for text in group["prompt_en"].to_list()]
            write_lines(folder / "split_sample_en" / f"{language}.json", english)
    return rows


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published items are not beside this checkout")
def test_the_published_items_come_back_from_the_authors_layout(tmp_path: Path) -> None:
    rows = rebuild(tmp_path / "data").sort("benchmark", "language", "item_id")
    loaded = load_items(tmp_path / "data")
    assert (loaded.read, loaded.items.height, loaded.quarantined.height) == (5300, 5300, 0)
    found = loaded.items.with_columns(pl.col("benchmark").cast(pl.String)).sort("benchmark", "language", "item_id")
    assert found["answers"].to_list() == rows["answers"].to_list()
    for column in COLUMNS:
        assert found[column].to_list() == rows[column].to_list(), column


def test_equal_lines_are_the_same_item_and_the_sample_goes_before_the_whole(tmp_path: Path) -> None:
    for ending, mark in (("", "whole"), ("_sample", "sample")):
        for language in ("en", "sw"):
            prompts = [f"{mark} {language} {line}\u2028\x1d" for line in range(3)]
            write_language(tmp_path / "XNLI", ending, language, prompts, ["1", "2", "3"])
    chosen = select_items(load_items(tmp_path).items, ("XNLI",), ("sw",), 2)
    assert chosen.select("item_id", "prompt", "prompt_en", "answers").rows() == [
        ("xnli-0000", "sample sw 0\u2028\x1d", "sample en 0\u2028\x1d", ["1"]),
        ("xnli-0001", "sample sw 1\u2028\x1d", "sample en 1\u2028\x1d", ["2"]),
    ]
    assert len(prompts_of_items(Location(str(tmp_path)))) == 6, "tiny models are made for these prompts too"


@pytest.mark.parametrize(
    ("prompts", "answers", "words"),
    [
        ([{"instruction": "a"}], ["1", "2"], "1 prompts, 2 answers"),
        ([{"prompt": "a"}], ["1"], "line 1: .*expected"),
        ([{"instruction": "a"}], [1], "line 1: '1'; expected"),
        ([{"instruction": "a"}], [[]], "line 1: "),
        ([{"instruction": "a"}], None, r"ans/en.json is absent"),
    ],
    ids=["counts", "key", "number", "no alias", "no answers"],
)
def test_prompts_and_answers_that_do_not_belong_together_are_named(
    tmp_path: Path, prompts: list[Any], answers: list[Any] | None, words: str
) -> None:
    write_lines(tmp_path / "xnli" / "split" / "en.json", prompts)
    if answers is not None:
        write_lines(tmp_path / "xnli" / "ans" / "en.json", answers)
    with pytest.raises(ContractViolation, match=words):
        load_items(tmp_path)


@pytest.mark.parametrize("line", ['{"instruction": "\\ud800"}', "[" * 100_000], ids=["half a pair", "deep"])
def test_a_prompt_that_is_no_text_names_its_file(tmp_path: Path, line: str) -> None:
    write_language(tmp_path / "xnli", "", "en", ["a"], ["1"])
    (tmp_path / "xnli" / "split" / "en.json").write_text(line, encoding="utf-8")
    with pytest.raises(ContractViolation, match=r"xnli/split/en\.json: not JSON lines"):
        load_items(tmp_path)


def test_two_folders_of_one_benchmark_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("XL-Sum", "xlsum"):
        write_language(tmp_path / name, "", "en", [name], ["a summary"])
    with pytest.raises(ContractViolation, match=r"xlsum and .*XL-Sum are both XLSum"):
        load_items(tmp_path)


def test_what_lies_beside_the_prompts_is_none_of_them(tmp_path: Path) -> None:
    write_language(tmp_path / "xnli", "", "en", ["a"], ["1"])
    (tmp_path / "xnli" / "split" / "._en.json").write_bytes(b"\x00\x05")
    (tmp_path / "xnli" / "split" / "sw.json").mkdir()
    (tmp_path / "XNLI" / "notes").mkdir(parents=True)
    assert load_items(tmp_path).items["language"].to_list() == ["en"]


def test_a_folder_with_neither_layout_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "xnli" / "other").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds no parquet file, nor BENCHMARK/split\*/LANGUAGE\.json"):
        load_items(tmp_path)
