"""The chosen layer, and the loss beside that of the baseline."""

import math

import numpy as np
import polars as pl
import pytest

from cc_tuning.document.blocks import Figure
from cc_tuning.report.parts.chosen_layers import agreement, chosen_layer_part, effective_layers
from cc_tuning.report.parts.embeddings import embedding_part
from cc_tuning.report.parts.training import training_part
from cc_tuning.report.run_evidence import Embedding, TrainingLog
from tests.report.made_evidence import evidence_of
from tests.report.reported_runs import runs_of
from tests.report.test_connection_parts_runs import trained


def predictions(layers: dict[tuple[str, str], list[int | None]], run: str = "cc-tuning") -> pl.DataFrame:
    """By kind of connection and benchmark, the layer of each item."""
    rows = [
        {"run": run, "connection": connection, "benchmark": benchmark, "language": "sw", "item_id": f"{place:03d}",
         "selected_layer": layer}
        for (connection, benchmark), of in layers.items()
        for place, layer in enumerate(of)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"selected_layer": pl.Int32})


CHOSEN = predictions(
    {
        ("transform", "XNLI"): [2, 2, 2, 2],
        ("transform", "MKQA"): [0, 1, 2, 3],
        ("parallel", "XNLI"): [2, 2, 2, 3],
        ("parallel", "MKQA"): [0, 0, 0, 0],
        ("off", "XNLI"): [None, None, None, None],
    }
)


def test_number_of_layers_is_that_of_as_many_equal_shares() -> None:
    assert effective_layers(np.array([0.0, 1.0, 0.0])) == 1.0
    assert effective_layers(np.array([0.25] * 4)) == pytest.approx(4.0)
    uneven = math.exp(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    assert effective_layers(np.array([0.9, 0.1])) == pytest.approx(uneven)


def test_agreement_joins_prompts_and_not_rows() -> None:
    shuffled = CHOSEN.sample(fraction=1.0, shuffle=True, seed=1)
    # XNLI: three of four; MKQA: the first
    assert agreement(shuffled) == (4, 8)
    assert agreement(CHOSEN.filter(pl.col("connection") == "transform")) == (0, 0)


def test_sentences_tell_layers_by_kind_of_task() -> None:
    section = chosen_layer_part(evidence_of(runs_of("cc-tuning"), {}, predictions={"cc-tuning": CHOSEN}))
    assert section is not None
    chosen, agreed = section.paragraphs
    assert "layer 3 for 100% of the prompts in understanding (XNLI), spread over 1.0 of 4 layers" in chosen
    assert "layer 1 for 25% of the prompts in generation (MKQA), spread over 4.0 of 4 layers" in chosen
    # shares of the matrix 1/8, 1/8, 5/8, 1/8 and of the real prompt 4/8, 0, 3/8, 1/8: 4/64 + 15/64 + 1/64 = 20/64
    assert "For 50% of 8 prompts" in agreed and "it would be 31%" in agreed
    figures = [block for block in section.blocks if isinstance(block, Figure)]
    assert [figure.key for figure in figures] == ["chosen-cc-tuning", "chosen-by-benchmark-cc-tuning"]
    assert "XNLI layer 3 (100%), MKQA layer 1 (25%)" in figures[1].alternative


def test_papers_layer_is_told_for_its_models_only() -> None:
    told = [
        chosen_layer_part(evidence_of(runs_of("cc-tuning"), {}, model, predictions={"cc-tuning": CHOSEN}))
        for model in ("Qwen/Qwen2.5-7B", "miniature")
    ]
    texts = [" ".join(section.paragraphs) for section in told if section]
    assert ["layer 17 of Qwen2.5-7B is chosen most often" in text for text in texts] == [True, False]


def test_a_mean_over_layers_chooses_none() -> None:
    none = predictions({("transform", "XNLI"): [None, None]})
    assert chosen_layer_part(evidence_of(runs_of("cc-tuning"), {}, predictions={"cc-tuning": none})) is None


def test_loss_is_held_against_the_baseline_on_the_same_rows_only() -> None:
    runs = runs_of("ml-sft", "cc-tuning")
    steps = list(range(1, 21))
    logs = {
        "ml-sft": TrainingLog(steps, [5.0] * 18 + [2.0, 3.0]),
        "cc-tuning": TrainingLog(steps, [5.0] * 18 + [2.0, 3.2]),
    }
    alike = [trained("ml-sft", None), trained("cc-tuning", {"selector": "mean", "source": "ffn"})]
    others = [alike[0], trained("cc-tuning", {"selector": "mean", "source": "ffn"}, rows="others")]
    sections = [training_part(evidence_of(runs, {}, stages=stages, training=logs)) for stages in (alike, others)]
    told = [" ".join(section.paragraphs) for section in sections if section]
    # the last two of twenty steps: 2.6 against 2.5
    assert "CC-Tuning ends at a loss of 2.600, ML-SFT at 2.500 (+4.0 %" in told[0]
    assert "ends at a loss" not in told[1]


def made_embedding(nearest: float, between: float) -> Embedding:
    points = {"swh": [(1.0, 2.0), (3.0, 4.0)], "eng": [(-1.0, 0.0), (-3.0, 0.0)]}
    return Embedding(2, nearest, between, (0.5, 0.25), points)


def test_languages_are_drawn_before_and_after_and_compared_in_words() -> None:
    embeddings = {"cc-tuning": {"base": made_embedding(0.5, 0.2), "tuned": made_embedding(0.75, 0.45)}}
    section = embedding_part(evidence_of(runs_of("cc-tuning"), {}, embeddings=embeddings))
    assert section is not None
    told = " ".join(section.paragraphs)
    assert "for 50.0\u00a0% of 2 prompts before tuning and for 75.0\u00a0% after" in told
    assert "20.0\u00a0% of the variance lies between languages before tuning, 45.0\u00a0% after" in told
    assert "brought languages further apart" in told and "not t-SNE" in told
    figures = [block for block in section.blocks if isinstance(block, Figure)]
    assert [figure.key for figure in figures] == ["embedding-base-cc-tuning", "embedding-tuned-cc-tuning"]
    assert "Swahili about (2.00, 3.00), English about (−2.00, 0.00)" in figures[0].alternative


def test_without_the_model_before_tuning_nothing_is_compared() -> None:
    only = {"cc-tuning": {"tuned": made_embedding(0.75, 0.45)}}
    section = embedding_part(evidence_of(runs_of("cc-tuning"), {}, embeddings=only))
    assert section is not None and len(section.paragraphs) == 1 and len(section.blocks) == 2
    assert embedding_part(evidence_of(runs_of("cc-tuning"), {})) is None
