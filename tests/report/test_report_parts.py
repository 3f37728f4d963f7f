"""A report with a part missing is still a report."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.report import parts
from cc_tuning.report.config import ReportConfig, ReportedRun
from cc_tuning.report.evidence import collect_evidence
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ArtifactMismatch
from tests.document.page_reader import PageReader
from tests.report.built_report import BuildReport
from tests.report.report_artifacts import World
from tests.report.reported_runs import runs_of, seeds_of

SMALLEST = Path(__file__).parents[1] / "flows" / "smallest.yaml"
ML_SFT = ReportConfig(name="made-up", runs=runs_of("ml-sft"), base_model="miniature")
SMALL = {"benchmarks": ("MKQA",), "items": 2, "steps": 3, "languages": ("en", "hi")}


def changed(**values: object) -> ReportedRun:
    return runs_of("ml-sft")[0].model_copy(update=values)


def test_one_baseline_alone_has_scores_and_nothing_about_connections(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(runs=runs_of("ml-sft"), **SMALL)).text("index.html"))
    assert [row[0] for row in page.tables["headline"][1:]] == ["ML-SFT"]
    assert "connection" not in page.tables
    assert "transform-fit" not in page.tables
    assert "Δ" not in page.text
    assert "Chosen layer" not in page.text


def test_connected_run_without_baseline_has_no_difference(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(runs=runs_of("cc-tuning"), grouped=False, **SMALL)).text("index.html"))
    assert len(page.tables["headline"]) == 4
    assert "Δ" not in page.text
    assert "connection" in page.tables
    assert not [key for key in page.tables if key.startswith("group-")]


@pytest.mark.parametrize("missing", ["transform", "train", "evaluate", "select", "items"])
def test_report_without_one_kind_of_input_renders(build_report: BuildReport, missing: str) -> None:
    report = build_report(World(**SMALL), without=(missing,))
    page = PageReader(report.text("index.html"))
    assert ("headline" in page.tables) == (missing != "evaluate")
    assert ("transform-fit" in page.tables) == (missing != "transform")
    assert ("Training loss" in page.text) == (missing != "train")
    assert ("Sample answers" in page.text) == (missing not in ("items", "evaluate"))
    assert report.text("report.md").startswith("# CC-Tuning report: made-up")


def test_form_and_ridge_of_the_transform_matrix_are_in_its_table(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(**SMALL)).text("index.html"))
    columns, row = page.tables["transform-fit"]
    fit = dict(zip(columns, row, strict=True))
    assert (fit["run"], fit["ridge"]) == ("CC-Tuning\none matrix for all layers", "1e−06")
    assert "error by pairs" not in page.text
    form = {"matrix": "per_layer", "intercept": True, "ridge_choice": "gcv", "relative_ridge": 0.0123}
    page = PageReader(build_report(World(transform=form, **SMALL)).text("index.html"))
    columns, row = page.tables["transform-fit"]
    fit = dict(zip(columns, row, strict=True))
    assert (fit["run"], fit["ridge"]) == (
        "CC-Tuning\none matrix per layer, with intercept",
        "0.0123\nby GCV",
    )
    assert "those of the worst layer" in page.text


@pytest.mark.parametrize("has_held_out", [True, False])
def test_sweep_is_drawn_with_its_ends_in_words(build_report: BuildReport, has_held_out: bool) -> None:
    points = [(1, 1e-14, 0.9), (10, 2e-13, 0.3), (36, 0.012, 0.0168)]
    sweep = [{"pairs": M, "mse": mse, "held_out_mse": other if has_held_out else None} for M, mse, other in points]
    page = PageReader(build_report(World(transform={"sweep": sweep}, **SMALL)).text("index.html"))
    assert "error by pairs" in page.text
    labels = [str(attributes.get("aria-label")) for _, attributes in page.elements if "aria-label" in attributes]
    (label,) = [label for label in labels if "pairs in the fit" in label]
    assert "with 1 to 36 pairs" in label and "on fitted pairs from 1e−14 to 0.012" in label
    assert ("on held-out pairs from 0.9 to 0.0168" in label) == has_held_out


def test_report_of_nothing_says_so(build_report: BuildReport) -> None:
    world = World(**SMALL)
    report = build_report(
        world, without=("select", "translate", "items", "materialize", "train", "transform", "evaluate")
    )
    page = PageReader(report.text("index.html"))
    assert "No evaluation was among the inputs" in page.text
    assert report.text("scores.csv").count("\n") == 1


def test_items_without_english_prompt_are_counted_apart(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(lacks_english=("mkqa-0001",), **SMALL)).text("index.html"))
    # Two items in two languages, of which one item lacks its English prompt in both.
    assert "Fewer items than the others: MKQA real English prompt 2 of 4." in page.text


def test_input_of_an_unknown_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluate/cc-tuning belongs to no run.*ml-sft"):
        collect_evidence(ML_SFT, {"evaluate/cc-tuning": Location("/nowhere")})


def test_missing_file_of_an_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMismatch, match=r"item_scores.parquet is missing"):
        collect_evidence(ML_SFT, {"evaluate/ml-sft": Location(str(tmp_path))})


def test_rows_of_the_paper_are_held_against_the_same_data_then_plain() -> None:
    recipe = load_recipe(SMALLEST, ["runs=[ml-sft, ml-sft+en, cc-tuning+en, cc-tuning+mt]"])
    config = plan_recipe(recipe).report.config
    assert isinstance(config, ReportConfig)
    found = {run.label: run.baseline for run in config.runs}
    assert found == {"ML-SFT": "", "ML-SFT +EN": "ml-sft", "CC-Tuning +EN": "ml-sft+en", "CC-Tuning +MT": "ml-sft"}


def test_plan_names_runs_their_families_and_their_seeds() -> None:
    mean = "{name: cc-mean, label: mean of layers, like: cc-tuning, set: {connection.selector: mean}}"
    recipe = load_recipe(SMALLEST, [f"runs=[base, cc-tuning, {mean}]", "seeds=[3, 5]"])
    config = plan_recipe(recipe).report.config
    assert isinstance(config, ReportConfig)
    families = {at.name: (at.label, at.baseline, [run.seed for run in at.runs]) for at in config.families}
    assert families == {
        "base": ("Base model", "", [None]),
        "cc-tuning": ("CC-Tuning", "base", [3, 5]),
        "cc-mean": ("mean of layers", "base", [3, 5]),
    }


def test_two_runs_of_one_label_are_refused_with_both_names() -> None:
    same = "{name: mine, label: CC-Tuning, like: cc-tuning}"
    with pytest.raises(ConfigError, match="runs cc-tuning and mine have one label, 'CC-Tuning'; change one"):
        load_recipe(SMALLEST, [f"runs=[cc-tuning, {same}]"])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ((*runs_of("ml-sft"), *runs_of("ml-sft")), "a run stands twice: ml-sft"),
        (seeds_of(["ml-sft"], [1, 1]), "a run stands twice"),
        ((changed(name="a"), changed(name="b")), r"its seeds, which must differ; got \[None, None\]"),
        ((changed(name="a", seed=1), changed(name="b", seed=2, label="other")), "different labels or baselines"),
        ((changed(baseline="theirs"),), "held against theirs; expected another family"),
        ((changed(baseline="ml-sft"),), "held against ml-sft; expected another family"),
        ((changed(), changed(name="b", family="b")), "ml-sft and b have one label, 'ML-SFT'"),
    ],
)
def test_runs_that_make_no_families_are_refused(runs: tuple[ReportedRun, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReportConfig(name="x", runs=runs, base_model="m")


def test_every_part_of_the_folder_has_its_place_on_the_page() -> None:
    found = set()
    for module in iter_modules(parts.__path__, f"{parts.__name__}."):
        for name, function in inspect.getmembers(import_module(module.name), inspect.isfunction):
            if not name.startswith("_") and list(inspect.signature(function).parameters) == ["evidence"]:
                found.add(function)
    assert found == set(parts.PARTS)
    assert len(found) == len(parts.PARTS) >= 11
