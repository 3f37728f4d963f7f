"""The Transform Matrix in the report: its headline is what it knows of a prompt, and it says when that is nothing."""

from typing import Any

import pytest

from tests.document.page_reader import PageReader
from tests.report.built_report import BuildReport
from tests.report.report_artifacts import LAYERS, World
from tests.report.reported_runs import runs_of

SMALL = {"runs": runs_of("cc-tuning"), "benchmarks": ("MKQA",), "items": 2, "steps": 3, "languages": ("en", "hi")}


def page_of(build_report: BuildReport, **figures: Any) -> PageReader:
    return PageReader(build_report(World(transform=figures, **SMALL)).text("index.html"))


def test_headline_is_within_language_and_layer_on_held_out_pairs(build_report: BuildReport) -> None:
    page = page_of(build_report)
    columns, row = page.tables["transform-within"]
    cells = dict(zip(columns, row, strict=True))
    # 0.12 / 1.4 and −1.5 / 1.4 of the made-up figures
    assert (cells["R², held-out pairs"], cells["identity, held-out pairs"]) == ("0.086\n4 pairs", "−1.071")
    assert (cells["R², fitted pairs"], cells["varying share"]) == ("0.120\n36 pairs", "4.0 %")
    assert "the matrix explains 9% of what varies between prompts of a language (R² 0.09" in page.text
    assert list(page.tables).index("transform-within") < list(page.tables).index("transform-errors")
    assert page.tables["transform-languages"] == [["language", "CC-Tuning"], ["swh", "0.086"]]


def test_direction_size_and_the_constant_stand_beside_the_errors(build_report: BuildReport) -> None:
    page = page_of(build_report)
    columns, row = page.tables["transform-within"]
    cells = dict(zip(columns, row, strict=True))
    assert (cells["cosine"], cells["found"]) == ("0.31 (0.12)", "25% (50%)\nof 4")
    columns, fitted, held_out = page.tables["transform-errors"]
    assert columns[-1] == "R², constant for language and layer"
    assert (fitted[-1], held_out[-1]) == ("0.970", "0.950")
    # 5 / 10, 5 / 50 and 0.5 / 10 of the made-up figures
    assert "adds is 0.50 times as large as f_1" in page.text and "0.10 times as large as the residual" in page.text
    assert "varies with the prompt is 0.050 times as large as f_1" in page.text


def test_the_papers_map_has_a_row_beside_another_one(build_report: BuildReport) -> None:
    paper = {f"{prefix}within_{of}r2": -0.05 for prefix in ("", "held_out_") for of in ("", "identity_")}
    paper |= {f"held_out_{of}{name}": 0.02 for of in ("", "identity_") for name in ("cosine", "found")}
    form = {"features": "all_layers", "ridge_choice": "cv", "intercept": "per_language", "solver": "dual"}
    page = page_of(build_report, paper={**paper, "held_out_candidates": 4}, **form)
    _, own, beside = page.tables["transform-within"]
    assert own[:2] == ["CC-Tuning", "0.086\n4 pairs"]
    assert beside[:2] == ["CC-Tuning\nthe paper's map", "−0.050"]
    columns, fit = page.tables["transform-fit"]
    assert fit[0] == "CC-Tuning\ntwo factors, from all layers, with an intercept for each language"
    assert dict(zip(columns, fit, strict=True))["ridge"] == "1e−06\nby cross-validation"


def test_maps_that_one_was_chosen_among_stand_with_what_they_were_chosen_by(build_report: BuildReport) -> None:
    shared = {"gain_error": 0.02, "behind": 0.0, "behind_error": 0.0}
    likely = {"name": "features all_layers", "parameters": 4000, "held_out_within_r2": 0.12, "gain": 0.31}
    plain = {"name": "the paper's", "parameters": 900, "held_out_within_r2": -0.4, "gain": -0.1}
    likely |= {**shared, "chosen": True}
    plain |= {**shared, "behind": 0.41, "behind_error": 0.03, "chosen": False}
    figures = {"candidates": [plain, likely], "choose_by": "likelihood", "scored_pairs": 72, "unscored_pairs": 3}
    page = page_of(build_report, **figures, english_gain=0.5, english_gain_error=0.04)
    columns, *rows = page.tables["transform-choice"]
    assert columns[1:] == ["map", "numbers", "R², held-out pairs", "gain, nats a token", "behind", "kept"]
    assert rows[0][1:] == ["the paper's", "900", "−0.400", "−0.100 ± 0.020", "0.410 ± 0.030", ""]
    assert rows[1][1:] == ["features all_layers", "4e+03", "0.120", "+0.310 ± 0.020", "0.000 ± 0.000", "yes"]
    assert rows[2][1:] == ["English prompt", "–", "–", "+0.500 ± 0.040", "–", ""]
    said = "of 2 maps features all_layers was kept, by the likelihood of held-out responses on 72 pairs; 3 more had no"
    assert said in page.text
    assert "transform-choice" not in page_of(build_report).tables


def test_a_matrix_worse_than_a_constant_is_called_that(build_report: BuildReport) -> None:
    worse = {"held_out_within_r2": -0.88, "held_out_layer_within_r2": [-0.5, -0.7, -1.0, -1.32]}
    page = page_of(build_report, **worse)
    assert "predicts them worse than a constant for each language and layer would (R² −0.88" in page.text
    labels = [str(attributes.get("aria-label")) for _, attributes in page.elements if "aria-label" in attributes]
    (label,) = [label for label in labels if "R² within language and layer" in label]
    assert "between −1.32 (layer 4) and −0.50 (layer 1)" in label


def test_without_enough_pairs_of_a_language_nothing_is_claimed(build_report: BuildReport) -> None:
    names = ("within_r2", "within_identity_r2")
    nothing = {f"{prefix}{name}": None for prefix in ("", "held_out_") for name in names} | {
        f"{prefix}layer_{name}": [None] * LAYERS for prefix in ("", "held_out_") for name in names
    }
    shares = {"varying_share": None, "layer_varying_share": [None] * LAYERS}
    languages = {"within_languages": {"swh": {"pairs": 1, "held_out_pairs": 1, "held_out_within_r2": None}}}
    page = page_of(build_report, **nothing, **shares, **languages)
    assert "explains" not in page.text and "transform-languages" not in page.tables
    _, row = page.tables["transform-within"]
    assert row[-1] == "–"


@pytest.mark.parametrize(("error", "words"), [(0.015, "by −25.0 %"), (0.03, "by +50.0 %")])
def test_more_pairs_are_told_with_what_they_bring(build_report: BuildReport, error: float, words: str) -> None:
    points = [(10, 0.01, 0.3), (300, 0.012, 0.02), (900, 0.013, error)]
    sweep = [{"pairs": M, "mse": mse, "held_out_mse": held_out} for M, mse, held_out in points]
    text = page_of(build_report, sweep=sweep).text
    assert f"going from 300 to 900 fitted pairs changes the held-out error {words}" in text
