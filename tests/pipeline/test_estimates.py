"""What a plan says a recipe will take: counted where files are there to count in."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from cc_tuning.pipeline.estimates import TOKENS_PER_TEXT, Estimate, estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.model_shapes import parameters_of
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
        (["data.max_characters=10"], 2),
        (["data.min_characters=11", "data.languages=[swh]"], 1),
    ],
)
def test_rows_of_a_file_are_those_that_the_recipe_chooses_from(
    tmp_path: Path, overrides: list[str], expected: int
) -> None:
    path = tmp_path / "rows.parquet"
    codes = ["swh"] * 5 + ["spa"] * 3 + ["klingon"]
    kinds = ["original-annotations"] * 2 + ["re-annotations"] * 7
    inputs = ["ten long  "] * 4 + ["eleven long"] * 5
    targets = ["eleven long"] * 1 + ["short"] * 2 + ["eleven long"] * 6
    rows = {"language_code": codes, "annotation_type": kinds, "inputs": inputs, "targets": targets}
    pl.DataFrame(rows).write_parquet(path)
    plan = planned(f"data.source={path}", *overrides)
    assert estimate_steps(plan)[plan.data[0].select.fingerprint].rows == expected


def test_rows_under_other_names_of_columns_are_not_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"lang": ["swh"] * 5}).write_parquet(path)
    plan = planned(
        f"data.source={path}", "data.languages=[swh]", "data.rows=4", "data.columns.names={language_code: lang}"
    )
    assert estimate_steps(plan)[plan.data[0].select.fingerprint].rows == 4  # what was asked for, as nothing was read


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model directory of 3 layers and width 8 with 1,000 parameters in float32."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 3}')
    save_file({"a": np.zeros((20, 45), np.float32), "b": np.zeros(100, np.float32)}, folder / "model.safetensors")
    return folder


def test_parameters_of_a_folder_are_counted_whatever_their_dtype(base: Path) -> None:
    assert parameters_of(str(base)) == 1_000


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 4_000), ("bfloat16", 2_000)])
def test_saved_weights_take_the_bytes_of_the_trained_dtype(base: Path, dtype: str, expected: int) -> None:
    plan = planned(f"model.base={base}", f"training.dtype={dtype}")
    assert plan.runs[0].train is not None
    assert estimate_steps(plan)[plan.runs[0].train.fingerprint].disk_bytes == expected


@pytest.mark.parametrize(
    ("overrides", "numbers"),
    [
        ([], 8 * 8),
        (["transform.matrix=per_layer"], 3 * 8 * 8),
        (["transform.features=all_layers", "transform.rank=5"], 2 * 3 * 8 * 5),  # U is [L D, r], V is [r, L D]
    ],
)
def test_a_map_takes_the_bytes_of_its_matrices(base: Path, overrides: list[str], numbers: int) -> None:
    plan = planned(f"model.base={base}", "runs=[cc-tuning]", *overrides)
    assert plan.runs[0].transform is not None
    assert estimate_steps(plan)[plan.runs[0].transform.fingerprint].disk_bytes == 4 * numbers


def test_a_prompt_is_read_for_every_answer(items: Path) -> None:
    asked = [f"evaluation.items={items}", "evaluation.languages=[]", "evaluation.benchmarks=[MKQA]", "runs=[ml-sft]"]
    answers = evaluation(*asked, "evaluation.likelihoods=false", "evaluation.max_new_tokens=5")
    assert answers.tokens == 17 * (TOKENS_PER_TEXT + 5)
