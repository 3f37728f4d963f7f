"""The parts about the connection say what their numbers say, and no more."""

import polars as pl
import pytest

from cc_tuning.document.axes import series_style
from cc_tuning.document.blocks import Figure, Section, Table
from cc_tuning.document.dots import MARKS
from cc_tuning.report.connection_modes import MODES
from cc_tuning.report.effects import Gain
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS
from cc_tuning.report.parts.connection import connection_part
from cc_tuning.report.parts.controls import control_part, reading
from cc_tuning.report.parts.summary import summary_part
from cc_tuning.report.scores import Variant, Verdict
from tests.report.made_evidence import Scores, evidence_of, score_frame
from tests.report.reported_runs import runs_of
from tests.report.test_connection_parts_effects import drawn_scores

CC = runs_of("cc-tuning")


def shifted(scores: Scores, by: float, seed: int) -> Scores:
    """Every item's score moved by about `by`."""
    noise = drawn_scores(0.0, seed=seed)
    return {key: value + by + 0.05 * noise[key] for key, value in scores.items()}


OFF = drawn_scores(4.0)
NLL = {
    "off": OFF,
    "parallel": shifted(OFF, -1.0, 1),
    "transform": shifted(OFF, -0.4, 2),
    "other": shifted(OFF, -0.3, 3),
    "constant": shifted(OFF, 0.0, 4),
}


def accuracy(scores: Scores) -> Scores:
    """Right where the gold answer is likely enough."""
    return {key: 100.0 * (value < 3.5) for key, value in scores.items()}


def evidence(nll: dict[str, Scores], base_model: str = "miniature") -> Evidence:
    modes = {mode: accuracy(nll[mode]) for mode in nll if mode in ("off", "parallel", "transform")}
    frame = pl.concat([score_frame("cc-tuning", nll), score_frame("cc-tuning", modes, metric="accuracy")])
    return evidence_of(CC, {"cc-tuning": frame}, base_model=base_model)


def tables(section: Section | None) -> dict[str, list[list[str]]]:
    assert section is not None
    return {
        block.key: [list(block.columns), *([f"{cell.text}|{cell.detail}" for cell in row] for row in block.rows)]
        for block in section.blocks
        if isinstance(block, Table)
    }


def test_every_kind_has_its_gain_over_the_connection_off() -> None:
    found = tables(connection_part(evidence(NLL)))
    likelihood = {row[0].split("|")[1]: row[1] for row in found["gains-likelihood"][1:]}
    assert list(likelihood) == [
        "real English prompt", "Transform Matrix", "another English prompt", "constant vector",
    ]  # fmt: skip
    means = {mode: sum(OFF[key] - NLL[mode][key] for key in OFF) / len(OFF) for mode in NLL}
    assert likelihood["Transform Matrix"].startswith(f"▲\u00a0+{means['transform']:.3f}|[+0.")
    assert not likelihood["constant vector"].startswith(("▲", "▼"))
    # the controls are measured by likelihood only
    assert len(found["gains-points"]) == 3
    assert found["gains-mkqa-gold_nll"][0] == ["run", "en English", "sw Swahili", "average"]


def test_competitors_stand_in_the_same_table_also_those_of_a_model_without_a_connection() -> None:
    """English as text makes no model a connected one."""
    competing = NLL | {"pivot": shifted(OFF, -0.5, 5), "context": shifted(OFF, -1.5, 6)}
    plain = {"off": OFF, "context": shifted(OFF, -2.0, 7), "pivot_context": shifted(OFF, -0.6, 8)}
    frames = {"cc-tuning": score_frame("cc-tuning", competing), "ml-sft": score_frame("ml-sft", plain)}
    found = evidence_of(runs_of("ml-sft", "cc-tuning"), frames)
    rows = [row[0].split("|")[1] for row in tables(connection_part(found))["gains-likelihood"][1:]]
    assert rows == [
        "English in the prompt", "translated English in the prompt",
        "real English prompt", "Transform Matrix", "translated English prompt", "English in the prompt",
        "another English prompt", "constant vector",
    ]  # fmt: skip
    results = found.results
    assert (results.is_connected("ml-sft"), results.is_connected("cc-tuning")) == (False, True)
    assert results.connection_label(Variant("ml-sft", "off")) == ""
    assert results.connection_label(Variant("ml-sft", "context")) == "English in the prompt"
    section = control_part(found)
    assert section is not None and len(tables(section)["controls"]) == 2  # the connected run alone has controls


def test_every_kind_has_a_mark_of_its_own_in_drawings() -> None:
    assert len(set(MARKS)) >= len(CONNECTION_LABELS)
    looks = {str(series_style(index)) for index in range(len(MODES))}
    assert len(looks) == len(MODES)
    modes = {mode: shifted(OFF, -0.1 * place, place) for place, mode in enumerate(CONNECTION_LABELS)}
    frames = {
        run: pl.concat([score_frame(run, of), score_frame(run, {at: accuracy(of[at]) for at in of}, metric="accuracy")])
        for run, of in (("cc-tuning", modes), ("ml-sft", {"off": OFF}))
    }
    section = summary_part(evidence_of(runs_of("ml-sft", "cc-tuning"), frames))
    assert section is not None
    captions = [block.caption for block in section.blocks if isinstance(block, Figure)]
    assert any("hexagon: translated English in the prompt" in caption for caption in captions)


def test_share_of_the_matrix_stands_with_its_interval_and_in_words() -> None:
    section = connection_part(evidence(NLL))
    recovered = {row[0].split("|")[1]: row[3] for row in tables(section)["recovered"][1:]}
    share = float(recovered["MKQA gold NLL"].split("\u00a0")[0])
    means = [sum(OFF[key] - NLL[mode][key] for key in OFF) for mode in ("transform", "parallel")]
    assert share == pytest.approx(100 * means[0] / means[1], abs=0.5)
    assert section is not None
    assert any(f"the matrix reaches {share:.0f}\u00a0% [" in sentence for sentence in section.paragraphs)


def test_share_is_undefined_where_the_real_prompt_gains_nothing() -> None:
    idle = {"off": OFF, "parallel": shifted(OFF, 0.0, 1), "transform": shifted(OFF, -0.4, 2)}
    section = connection_part(evidence(idle))
    recovered = {row[0].split("|")[1]: row[3] for row in tables(section)["recovered"][1:]}
    assert recovered["MKQA gold NLL"] == "undefined|"
    assert section is not None
    assert any("real English prompt changes nothing that 1 benchmark could show" in at for at in section.paragraphs)


def test_a_loss_has_no_share_to_recover() -> None:
    harm = {"off": OFF, "parallel": shifted(OFF, 0.6, 1), "transform": shifted(OFF, 0.4, 2)}
    section = connection_part(evidence(harm))
    assert [row[3] for row in tables(section)["recovered"][1:]] == ["undefined|", "undefined|"]
    assert section is not None
    assert any("the real English prompt hurts on 1 of 1 benchmark" in at for at in section.paragraphs)
    assert not any("the matrix reaches" in at for at in section.paragraphs)


def test_parallel_against_matrix_stands_beside_table_2() -> None:
    found = tables(connection_part(evidence(NLL, "meta-llama/Llama-3.1-8B")))["parallel-transform"]
    assert [row[0] for row in found[1:]] == ["CC-Tuning|ours", "CC-Tuning|paper"]
    # Ye et al. 2025, Table 2, MKQA
    assert found[2][1] == "0.01|"
    gap = [sum(accuracy(NLL[mode]).values()) / len(OFF) for mode in ("parallel", "transform")]
    assert found[1][1].startswith(f"{abs(gap[0] - gap[1]):.2f}|signed [")


def test_dot_chart_tells_its_numbers_to_those_who_cannot_see_it() -> None:
    section = connection_part(evidence(NLL))
    assert section is not None
    figures = {block.key: block for block in section.blocks if isinstance(block, Figure)}
    assert set(figures) == {"gains-points-cc-tuning", "gains-likelihood-cc-tuning"}
    gain = sum(OFF[key] - NLL["transform"][key] for key in OFF) / len(OFF)
    assert f"Transform Matrix on MKQA +{gain:.3f}" in figures["gains-likelihood-cc-tuning"].alternative


def test_content_is_what_the_right_prompt_gains_over_another() -> None:
    section = control_part(evidence(NLL))
    columns, row = tables(section)["controls"]
    cells = dict(zip(columns, row, strict=True))
    content = sum(NLL["other"][key] - NLL["parallel"][key] for key in OFF) / len(OFF)
    assert cells["content"].startswith(f"▲\u00a0+{content:.3f}|")
    assert cells["its own activation"] == "–|"
    assert cells["reading"] == "content that helps|"
    assert section is not None
    assert any("carries content" in sentence and "on MKQA (+0." in sentence for sentence in section.paragraphs)
    assert any("does better than a constant vector on MKQA" in sentence for sentence in section.paragraphs)


def test_bias_is_not_called_content() -> None:
    biased = NLL | {"other": shifted(NLL["parallel"], 0.0, 6), "constant": shifted(NLL["parallel"], 0.0, 7)}
    section = control_part(evidence(biased))
    columns, row = tables(section)["controls"]
    assert dict(zip(columns, row, strict=True))["reading"] == "a bias that helps; no content shown|"
    assert section is not None
    assert any("on none of them" in at and "remain possible" in at for at in section.paragraphs)
    assert any("a constant vector alone helps on MKQA" in at for at in section.paragraphs)


def test_without_controls_or_connection_the_parts_are_left_out() -> None:
    assert control_part(evidence({mode: NLL[mode] for mode in ("off", "parallel")})) is None
    plain = evidence_of(runs_of("ml-sft"), {"ml-sft": score_frame("ml-sft", {"off": OFF})})
    assert connection_part(plain) is None and control_part(plain) is None
    assert connection_part(evidence_of(CC, {})) is None


@pytest.mark.parametrize(
    ("content", "gain", "words"),
    [
        ("better", "better", "content that helps"),
        ("better", "undecided", "content, no clear gain"),
        ("better", "worse", "content, which does not make up for what the vector costs"),
        ("undecided", "better", "a bias that helps; no content shown"),
        ("undecided", "worse", "a bias that hurts; no content shown"),
        ("undecided", "undecided", "neither content nor gain shown"),
        ("worse", "better", "another item's prompt does better"),
    ],
)
def test_reading_of_a_line(content: Verdict, gain: Verdict, words: str) -> None:
    assert reading(*(Gain(0.0, -1.0, 1.0, 10, verdict) for verdict in (content, gain))) == words


def test_what_was_not_measured_has_no_reading() -> None:
    assert reading(None, Gain(0.1, 0.05, 0.2, 10, "better")) == "not measured"
