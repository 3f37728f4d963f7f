"""Items from files: the published ones load whole, and broken files are named."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.scoring import score_response
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.schemas import BenchmarkItem

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "benchmarks"


def _row(**changes: object) -> dict[str, object]:
    row = {"benchmark": "MKQA", "language": "en", "item_id": "mkqa-0001", "prompt": "Who?", "prompt_en": None}
    return {**row, "answers": ["me"], "choices_kind": "answer_aliases", **changes}


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published items are not beside this checkout")
def test_published_items_all_keep_the_contract() -> None:
    loaded = load_items(PUBLISHED)
    assert (loaded.read, loaded.items.height, loaded.quarantined.height) == (5300, 5300, 0)
    for name, benchmark in BENCHMARKS.items():
        rows = loaded.items.filter(pl.col("benchmark") == name)
        assert set(rows["language"]) == set(benchmark.paper_languages)
        for row in rows.iter_rows(named=True):
            best = score_response(benchmark, row["answers"][0], row["answers"])
            # The gold answer itself is right, in every language.
            assert best[benchmark.headline_metric.name] == 100, row["item_id"]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published items are not beside this checkout")
def test_selection_of_a_parallel_benchmark_keeps_the_same_items_in_every_language() -> None:
    chosen = select_items(load_items(PUBLISHED).items, ("XQuAD", "MMMLU"), ("hi", "ar", "zh"), 7)
    ids = chosen.group_by("benchmark", "language").agg(pl.col("item_id").sort().str.join(" "))
    assert ids.height == 5
    assert ids.group_by("benchmark").agg(pl.col("item_id").n_unique())["item_id"].to_list() == [1, 1]


def test_files_are_joined_and_an_id_given_twice_is_set_aside(tmp_path: Path) -> None:
    pl.DataFrame([_row(), _row(item_id="mkqa-0002")]).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame([_row(language="hi", group="english_only"), _row(group=None)]).write_parquet(tmp_path / "b.parquet")
    loaded = load_items(tmp_path)
    assert loaded.items.select("language", "item_id", "group").rows() == [
        ("en", "mkqa-0002", None),
        ("hi", "mkqa-0001", "english_only"),
    ]
    assert loaded.quarantined["row_id"].to_list() == ["mkqa-0001", "mkqa-0001"]
    assert loaded.read == 4
    assert loaded.items.columns == BenchmarkItem.column_names()


def test_missing_column_names_the_file(tmp_path: Path) -> None:
    pl.DataFrame([_row()]).drop("answers").write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ContractViolation, match=r"a\.parquet: a benchmark file needs the columns \['answers'\]"):
        load_items(tmp_path)


def test_values_of_another_type_are_set_aside_not_guessed(tmp_path: Path) -> None:
    pl.DataFrame([_row(prompt=None), _row(item_id="x", answers=[None])]).write_parquet(tmp_path / "a.parquet")
    loaded = load_items(tmp_path)
    assert (loaded.items.height, loaded.quarantined.height) == (0, 2)


@pytest.mark.parametrize(
    ("column", "value", "type"),
    [
        ("answers", "me", "String"),
        ("answers", [{"text": "me"}], r"List\(Struct"),
        ("prompt", ["Who?"], r"List\(String"),
    ],
)
def test_column_of_another_type_names_the_file_and_what_it_holds(
    tmp_path: Path, column: str, value: object, type: str
) -> None:
    pl.DataFrame([_row(**{column: value})]).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ContractViolation, match=rf"a\.parquet: {column} is {type}"):
        load_items(tmp_path)


def test_texts_of_other_than_all_options_are_set_aside(tmp_path: Path) -> None:
    kind = {"benchmark": "XStoryCloze", "choices_kind": BENCHMARKS["XStoryCloze"].choices_kind, "answers": ["1"]}
    endings = {"two": ["a", "b"], "one": ["a"], "three": ["a", "b", "c"], "untold": None}
    rows = [_row(item_id=name, choices=choices, **kind) for name, choices in endings.items()]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    loaded = load_items(tmp_path)
    assert loaded.items["item_id"].to_list() == ["two", "untold"]
    assert set(loaded.quarantined["rule"]) == {"choices_are_not_one_for_each_option"}


def test_a_language_without_an_item_is_refused_and_a_benchmark_without_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pl.DataFrame([_row(), _row(language="sw")]).write_parquet(tmp_path / "a.parquet")
    items = load_items(tmp_path).items
    with pytest.raises(ConfigError, match=r"has th, in which there is no item of MKQA; the items have MKQA: en sw"):
        select_items(items, ("MKQA",), ("en", "th"), 5)
    assert select_items(items, ("MKQA", "XQuAD"), ("sw",), 5).height == 1
    assert "no items of XQuAD" in caplog.text


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is not parquet")
    with pytest.raises(ArtifactMismatch, match=r"a\.parquet cannot be read as parquet"):
        load_items(tmp_path)
