"""What a plan says a recipe will take: counted where files are there to count in."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.pipeline.estimates import Estimate, estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe

SMALLEST = Path(__file__).resolve().parents[1] / "flows" / "smallest.yaml"


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """12 Hindi and 5 Swahili items of MKQA, and 7 Hindi ones of XQuAD."""
    folder = tmp_path / "items"
    folder.mkdir()
    counts = {("MKQA", "hi"): 12, ("MKQA", "sw"): 5, ("XQuAD", "hi"): 7}
    rows = [
        {"benchmark": benchmark, "language": language} for (benchmark, language), n in counts.items() for _ in range(n)
    ]
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    return folder


def planned(*overrides: str) -> Plan:
    return plan_recipe(load_recipe(SMALLEST, overrides), sources_may_be_missing=True)


def evaluation(*overrides: str) -> Estimate:
    plan = planned(*overrides)
    return estimate_steps(plan)[plan.runs[-1].evaluate.fingerprint]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], 12 + 5 + 7),
        (["evaluation.benchmarks=[MKQA]"], 12 + 5),
        (["evaluation.languages=[hi]"], 12 + 7),
        (["evaluation.items_per_language=6"], 6 + 5 + 6),
        (["evaluation.benchmarks=[MKQA]", "evaluation.languages=[sw]", "evaluation.items_per_language=2"], 2),
    ],
)
def test_items_of_a_folder_are_those_that_the_recipe_asks_for(items: Path, overrides: list[str], expected: int) -> None:
    asked = [f"evaluation.items={items}", "evaluation.languages=[]", "evaluation.benchmarks=[MKQA, XQuAD]"]
    assert evaluation("runs=[ml-sft]", *asked, *overrides).rows == expected


def test_likelihoods_and_controls_take_tokens_and_disk(items: Path) -> None:
    asked = [f"evaluation.items={items}", "evaluation.languages=[]", "evaluation.benchmarks=[MKQA]", "runs=[cc-tuning]"]
    without = evaluation(*asked, "evaluation.likelihoods=false")
    plain = evaluation(*asked, "evaluation.controls=[]")
    with_controls = evaluation(*asked)
    assert without.rows == plain.rows == with_controls.rows == 3 * 17
    for smaller, larger in ((without, plain), (plain, with_controls)):
        assert smaller.tokens is not None and larger.tokens is not None and smaller.tokens < larger.tokens
        assert smaller.disk_bytes is not None and larger.disk_bytes is not None
        assert smaller.disk_bytes < larger.disk_bytes


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], 9),
        (["data.languages=[swh]"], 5),
        (["data.max_rows_per_language=3"], 3 + 3 + 1),
        (["data.annotation_types=[original-annotations]"], 2),
        (["data.rows=4"], 4),
    ],
)
def test_rows_of_a_file_are_those_that_the_recipe_chooses_from(
    tmp_path: Path, overrides: list[str], expected: int
) -> None:
    path = tmp_path / "rows.parquet"
    codes = ["swh"] * 5 + ["spa"] * 3 + ["klingon"]
    kinds = ["original-annotations"] * 2 + ["re-annotations"] * 7
    pl.DataFrame({"language_code": codes, "annotation_type": kinds}).write_parquet(path)
    plan = planned(f"data.source={path}", *overrides)
    assert estimate_steps(plan)[plan.data[0].select.fingerprint].rows == expected
