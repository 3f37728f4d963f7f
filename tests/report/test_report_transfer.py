"""The section of runs that are moved into a language: our figures, the paper's, the judge, the margins, the sweep."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cc_tuning.document.blocks import Figure, Section, Table
from cc_tuning.report.config import ReportedRun
from cc_tuning.report.parts.transfer import transfer_part
from cc_tuning.report.published_transfer import published_transfer
from cc_tuning.report.run_evidence import TrainingLog
from data_contracts.schemas import WinRate
from tests.report.made_evidence import evidence_of, score_frame

TRANSCRIPTION = Path(__file__).resolve().parents[3] / "shared" / "data" / "reference" / "clo_paper.csv"
METHODS = {"sft": "SFT", "sft+dpo": "SFT+DPO", "clo": "CLO"}


def run(method: str, pairs: int = 6400, target: str = "sw") -> ReportedRun:
    name = f"{method}-{target}-{pairs}"
    baseline = f"sft-{target}-6400" if method != "sft" or pairs != 6400 else ""
    return ReportedRun(
        name=name, label=f"{METHODS[method]} {pairs} {target}", family=name, baseline=baseline,
        method=METHODS[method], target=target, pairs=pairs,
    )  # fmt: skip


def scores(of: ReportedRun, right: int, benchmark: str = "BELEBELE-fields") -> pl.DataFrame:
    """`right` of ten items right in the target language, nine in English."""
    values = {(of.target, f"i{number}"): 100.0 * (number < right) for number in range(10)}
    values |= {("en", f"i{number}"): 100.0 * (number < 9) for number in range(10)}
    return score_frame(of.name, {"off": values}, benchmark, "accuracy")


def win_rates(of: ReportedRun, rate: float, error: float = 1.7, **changes: Any) -> pl.DataFrame:
    rows = [
        {
            "run": of.name, "baseline": of.baseline, "benchmark": "AlpacaEval", "language": language, "items": 805,
            "judgements": 1610, "win_rate": value, "standard_error": error, "wins": 900, "losses": 600, "ties": 110,
            "refused": 3, "open": 2, "agreement": 81.5, "first_preferred": 55.5, "prompt_tokens": 1000,
            "completion_tokens": 20,
        } | changes
        for language, value in ((of.target, rate), ("en", 51.0))
    ]  # fmt: skip
    return WinRate.cast(pl.DataFrame(rows))


def section(*runs: ReportedRun, base_model: str = "meta-llama/Meta-Llama-3-8B", **of_runs: Any) -> Section:
    item_scores = {each.name: scores(each, 4 + place) for place, each in enumerate(runs)}
    found = transfer_part(evidence_of(runs, item_scores, base_model, samples=200, **of_runs))
    assert found is not None
    return found


def table(found: Section, key: str) -> Table:
    return next(block for block in found.blocks if isinstance(block, Table) and block.key == key)


def texts(found: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in found.rows]


def test_our_figures_stand_above_the_papers_of_the_same_model_and_language() -> None:
    sft, clo = run("sft"), run("clo")
    shown = table(section(sft, clo, win_rates={clo.name: win_rates(clo, 71.25)}), "transfer-sw")
    assert shown.columns == [
        "method", "AlpacaEval win rate, sw Swahili", "AlpacaEval win rate, en English",
        "BELEBELE-fields accuracy, sw Swahili", "BELEBELE-fields accuracy, en English",
    ]  # fmt: skip
    ours_sft, paper_sft, ours_clo, paper_clo = texts(shown)
    assert ours_sft[1:] == ["–", "–", "40.0", "90.0"] and ours_clo[1:] == ["71.2", "51.0", "50.0", "90.0"]
    assert paper_sft[1:] == ["–", "–", "42.0", "75.0"]
    assert paper_clo[1:] == ["83.0 (1)", "61.4", "42.6", "75.9"]
    assert "Tables 8 and 9" in shown.note
    assert shown.rows[2][1].detail == "± 1.70"


def test_a_model_that_the_paper_has_not_has_no_rows_of_the_paper() -> None:
    shown = table(section(run("sft"), run("clo"), base_model="miniature"), "transfer-sw")
    assert [row[0].detail for row in shown.rows] == ["6,400 pairs asked for"] * 2


def test_each_language_has_a_table_of_its_own_runs() -> None:
    found = section(run("sft"), run("clo"), run("sft", target="de"), run("clo", target="de"))
    swahili, german = table(found, "transfer-sw"), table(found, "transfer-de")
    assert {row[0].text[-2:] for row in swahili.rows} == {"sw"} and {row[0].text[-2:] for row in german.rows} == {"de"}


def test_what_the_judge_said_and_what_it_means_is_told() -> None:
    sft, clo = run("sft"), run("clo")
    found = section(sft, clo, win_rates={clo.name: win_rates(clo, 71.25)})
    judged = texts(table(found, "judge-sw"))
    assert judged[0][1:] == ["900", "600", "110", "3", "2", "81.5", "55.5", "1,020"]
    assert any(
        "sw Swahili, AlpacaEval: the answers of CLO 6400 sw are judged better than" in at for at in found.paragraphs
    )
    assert any("en English, AlpacaEval" in at and "not told apart" in at for at in found.paragraphs)


def test_of_what_clo_is_compared_with_only_a_difference_is_told() -> None:
    sft, dpo, clo = run("sft"), run("sft+dpo"), run("clo")
    told = section(sft, dpo, clo, win_rates={dpo.name: win_rates(dpo, 30.0), clo.name: win_rates(clo, 50.5)}).paragraphs
    assert any("sw Swahili, AlpacaEval: the answers of SFT+DPO 6400 sw are judged worse than" in at for at in told)
    assert not any("en English, AlpacaEval: the answers of SFT+DPO" in at for at in told)
    assert any("sw Swahili, AlpacaEval: the answers of CLO 6400 sw are judged not told apart" in at for at in told)


def test_margins_of_two_seeds_are_told_by_their_mean() -> None:
    seeds = [
        run("clo").model_copy(
            update={"name": f"clo-{seed}", "label": "CLO", "seed": seed, "family": "clo", "baseline": ""}
        )
        for seed in (0, 1)
    ]
    training = {
        each.name: TrainingLog(steps=[1, 2], losses=[2, 1], margins=[0.0, end], english_margins=[0.0, 1.0])
        for each, end in zip(seeds, (0.5, 1.0), strict=True)
    }
    found = section(*seeds, training=training)
    figure = next(block for block in found.blocks if isinstance(block, Figure) and block.key == "margins-sw")
    assert "CLO, z of the target on average from 0.000 to 0.750" in figure.alternative


def test_margins_and_the_sweep_over_pairs_are_drawn_and_told() -> None:
    sft, clo, fewer = run("sft"), run("clo"), run("clo", 400)
    log = TrainingLog(steps=[1, 2, 3], losses=[3, 2, 1], margins=[0.0, 0.5, 1.25], english_margins=[0.0, 0.1, 0.75])
    found = section(sft, clo, fewer, training={clo.name: log})
    figures = {block.key: block for block in found.blocks if isinstance(block, Figure)}
    assert "from 0.000 to 1.250" in figures["margins-sw"].alternative
    assert "from 0.000 to 0.750" in figures["margins-sw"].alternative
    assert "CLO 60.0 with 400, 50.0 with 6,400" in figures["sweep-sw"].alternative


def test_without_runs_that_are_moved_into_a_language_there_is_no_section() -> None:
    plain = ReportedRun(name="ml-sft", label="ML-SFT", family="ml-sft")
    assert transfer_part(evidence_of([plain], {"ml-sft": score_frame("ml-sft", {"off": {("sw", "a"): 1.0}})})) is None


def written(of: ReportedRun, target: float, english: float) -> pl.DataFrame:
    """Scores, and of 40 answers the shares that are in the language of their prompt."""
    shares = {(of.target, f"i{number}"): 100.0 * (number < 0.4 * target) for number in range(40)}
    shares |= {("en", f"i{number}"): 100.0 * (number < 0.4 * english) for number in range(40)}
    return pl.concat([scores(of, 5), score_frame(of.name, {"off": shares}, "XLSum", "in_language")])


def test_more_answers_in_the_language_than_those_of_sft_are_called_a_difference_and_equal_english_is_not() -> None:
    runs = [run("sft"), run("sft+dpo"), run("clo")]
    shares = {"SFT": (25.0, 100.0), "SFT+DPO": (30.0, 100.0), "CLO": (95.0, 100.0)}
    item_scores = {each.name: written(each, *shares[each.method]) for each in runs}
    found = transfer_part(evidence_of(runs, item_scores, samples=200))
    assert found is not None
    shown = table(found, "against-sw")
    assert [(row[0].text, row[0].detail) for row in shown.rows] == [
        ("SFT+DPO 6400 sw", "− SFT 6400 sw"), ("CLO 6400 sw", "− SFT 6400 sw"), ("CLO 6400 sw", "− SFT+DPO 6400 sw"),
    ]  # fmt: skip
    *_, swahili, english = shown.columns
    assert swahili.startswith("XLSum") and "sw" in swahili and "en" in english
    dpo, against_sft, against_dpo = ([row[-2], row[-1]] for row in shown.rows)
    assert [cell.value for cell in against_sft] == pytest.approx([70.0, 0.0])
    assert against_sft[0].tone == against_dpo[0].tone == "better"
    assert dpo[0].tone == dpo[1].tone == against_sft[1].tone == ""
    said = [at for at in found.paragraphs if at.startswith("sw Swahili: CLO 6400 sw is 70.0")]
    assert len(said) == 1 and "SFT 6400 sw" in said[0]


def test_fewer_pairs_are_held_against_fine_tuning_on_all_of_them() -> None:
    runs = [run("sft", 400), run("sft"), run("clo", 400), run("clo")]
    shown = table(section(*runs), "against-sw")
    assert [(row[0].text, row[0].detail) for row in shown.rows] == [
        (name, "− SFT 6400 sw") for name in ("SFT 400 sw", "CLO 400 sw", "CLO 6400 sw")
    ]


def test_the_base_model_stands_above_what_is_made_of_it() -> None:
    base = ReportedRun(name="base", label="Base model", family="base")
    sft = run("sft").model_copy(update={"baseline": "base"})
    item_scores = {"base": scores(sft, 2).with_columns(run=pl.lit("base")), sft.name: scores(sft, 5)}
    found = transfer_part(evidence_of([base, sft], item_scores, samples=200))
    assert found is not None
    first, second = table(found, "transfer-sw").rows
    assert (first[0].text, first[0].detail, first[1].text) == ("Base model", "no pairs", "20.0")
    assert (second[0].text, second[1].text) == (sft.label, "50.0")


def test_without_reading_and_knowledge_the_headline_measures_stand_there() -> None:
    sft, clo = run("sft"), run("clo")
    item_scores = {each.name: scores(each, 5, "XNLI") for each in (sft, clo)}
    found = transfer_part(evidence_of([sft, clo], item_scores, samples=200))
    assert found is not None
    assert table(found, "transfer-sw").columns == [
        "method", "XNLI accuracy, sw Swahili", "XNLI accuracy, en English"
    ]  # fmt: skip


@pytest.mark.skipif(not TRANSCRIPTION.is_file(), reason=f"{TRANSCRIPTION} is not here to compare with")
def test_every_printed_figure_is_that_of_an_independent_transcription() -> None:
    runs = {"SFT": "sft", "SFT+DPO": "sft+dpo", "CLO": "clo", "SFT-eng": "sft-eng", "SFT-tgt": "sft-tgt"}
    models = {"Mistral-7B": "Mistral-7B-v0.1", "Qwen-2.5-3B": "Qwen2.5-3B"}
    hub = {"Llama-3-8B": "Meta-Llama-3-8B"}
    compared = 0
    with TRANSCRIPTION.open(encoding="utf-8", newline="") as file:
        for cell in csv.DictReader(file):
            if cell["table"] not in ("1", "2", "3") or cell["metric"].startswith("delta") or not cell["value"]:
                continue
            model = models.get(cell["model"], cell["model"])
            metric = "win_rate" if cell["metric"].startswith("win_rate") else "accuracy"
            key = (runs[cell["method"]], cell["language"], cell["eval_language"], cell["benchmark"], metric)
            printed = published_transfer(hub.get(model, model), *key)
            assert printed is not None, (model, key)
            assert printed.value == float(cell["value"]), (model, key)
            assert printed.error == (float(cell["std"]) if cell["std"] else None), (model, key)
            compared += 1
    assert compared == 348


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("Qwen/Qwen2.5-3B", "clo", "sw", "sw", "AlpacaEval", "win_rate"), 74.7),
        (("mistralai/Mistral-7B-v0.1", "sft", "ko", "ko", "BELEBELE", "accuracy"), 29.2),
        (("meta-llama/Llama-2-7b-hf", "sft+dpo", "zh", "en", "MMMLU", "accuracy"), 31.0),
        (("meta-llama/Llama-2-13b-hf", "sft-tgt", "sw", "sw", "MMMLU", "accuracy"), 22.56),
    ],
)
def test_published_figures_are_found_by_model_method_and_language(key: tuple[str, ...], value: float) -> None:
    printed = published_transfer(*key)
    assert printed is not None and printed.value == value
