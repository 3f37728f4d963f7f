"""Direction, retrieval and strength against loops over rows and naive passes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from cc_tuning.model import CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.agreement import measure_agreement
from cc_tuning.transform.spool import FIT, HELD_OUT
from cc_tuning.transform.strength import connection_strength
from tests.reference.connection import choose_layer, run_row
from tests.transform.spooled_rows import Rows, spool_of
from tests.transform.transform_runs import run_stage, translated_pair

L, D = 2, 8


def drawn(pairs: int, seed: int, noise: float = 1.0) -> tuple[Rows, Rows]:
    """`F` and `F_en` that share a part, about means far from 0."""
    draw = np.random.default_rng(seed)
    content = draw.normal(size=(pairs, L, D))
    own = content + noise * draw.normal(size=(pairs, L, D)) + 20
    return own, content + noise * draw.normal(size=(pairs, L, D)) - 7 * np.arange(1, D + 1)


def slow_agreement(
    fitted: tuple[Rows, Rows], new: tuple[Rows, Rows], languages: dict[str, list[str]], texts: list[int], W: Rows
) -> tuple[list[float], list[float], int]:
    """Cosine and share found, layer by layer, row by row."""
    searched = [at for at, name in enumerate(languages[HELD_OUT]) if languages[FIT].count(name) >= 2]
    cosines, shares = [], []
    for layer in range(L):
        rows = {}
        for at in searched:
            peers = [n for n, name in enumerate(languages[FIT]) if name == languages[HELD_OUT][at]]
            prediction = new[0][at, layer] @ W - np.mean([fitted[0][n, layer] @ W for n in peers], axis=0)
            rows[at] = prediction, new[1][at, layer] - np.mean([fitted[1][n, layer] for n in peers], axis=0)
        cosine = {
            (at, to): rows[at][0] @ rows[to][1] / np.linalg.norm(rows[at][0]) / np.linalg.norm(rows[to][1])
            for at in searched
            for to in searched
        }
        cosines.append(float(np.mean([cosine[at, at] for at in searched])))
        nearest = {at: max(searched, key=lambda to: cosine[at, to]) for at in searched}
        shares.append(float(np.mean([texts[nearest[at]] == texts[at] for at in searched])))
    return cosines, shares, len(searched)


def test_figures_are_those_of_loops_over_rows(tmp_path: Path) -> None:
    fitted, new = drawn(21, 0), drawn(12, 1)
    languages = {FIT: ["sw"] * 10 + ["yo"] * 10 + ["ha"], HELD_OUT: ["sw", "yo", "ha", "fr"] * 3}
    texts = [0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 10]
    W = np.random.default_rng(2).normal(size=(D, D))
    spool = spool_of(tmp_path, {FIT: fitted, HELD_OUT: new})
    figures = measure_agreement(spool, TransformMatrix(torch.from_numpy(W)), languages, texts)
    for owner, matrix in (("", W), ("identity_", np.eye(D))):
        cosines, shares, searched = slow_agreement(fitted, new, languages, texts, matrix)
        assert figures[f"held_out_layer_{owner}cosine"] == pytest.approx(cosines, rel=1e-6)
        assert figures[f"held_out_layer_{owner}found"] == pytest.approx(shares)
        assert figures[f"held_out_{owner}cosine"] == pytest.approx(np.mean(cosines), rel=1e-6)
    assert figures["held_out_candidates"] == searched == 6


def test_content_is_found_and_a_constant_finds_nothing(tmp_path: Path) -> None:
    languages = {FIT: ["sw"] * 50, HELD_OUT: ["sw"] * 250}
    spool = spool_of(tmp_path, {FIT: drawn(50, 0, noise=0.05), HELD_OUT: drawn(250, 1, noise=0.05)})
    clear = measure_agreement(spool, TransformMatrix(torch.eye(D, dtype=torch.float64)), languages, range(250))
    assert clear["held_out_candidates"] == 200
    assert clear["held_out_found"] > 0.95 and clear["held_out_cosine"] > 0.95
    nothing = TransformMatrix(torch.zeros(D, D, dtype=torch.float64), torch.full((D,), 3.0, dtype=torch.float64))
    constant = measure_agreement(spool, nothing, languages, range(250))
    assert constant["held_out_found"] == 0 and constant["held_out_cosine"] == 0


def test_strength_is_that_of_naive_passes(checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    model, prompts = CrossLingualModel.from_pretrained(checkpoint), ChatPrompts(tiny_tokenizer)
    texts = [("Habari ya leo?", "How are you?"), ("Bei gani?", "What price is it?"), ("Ndiyo", "Yes")]
    pairs = [SampledPair(str(n), prompts.encode_prompt(a), prompts.encode_prompt(b)) for n, (a, b) in enumerate(texts)]
    padding_id = tiny_tokenizer.pad_token_id
    assert isinstance(padding_id, int)
    figures = connection_strength(model, pairs, 2, padding_id)
    rows: dict[str, list[torch.Tensor]] = {"v": [], "f1": [], "residual": []}
    for pair in pairs:
        with torch.no_grad():
            ids, english = torch.tensor(pair.input_ids), torch.tensor(pair.english_input_ids)
            own, spoken = run_row(model.base, ids, len(ids) - 1)[1], run_row(model.base, english, len(english) - 1)[1]
            rows["v"].append(spoken[choose_layer(model.base, model.decision_maker.weight, spoken, ids[-1])])
            rows["f1"].append(own[0])
            rows["residual"].append(model.base.model(ids[None], output_hidden_states=True).hidden_states[1][0, -1])
    for name, of in rows.items():
        expected = np.sqrt(np.mean([float(row.square().sum()) for row in of]))
        assert figures[f"{name}_norm"] == pytest.approx(expected, rel=1e-4)
    varying = torch.stack(rows["v"]) - torch.stack(rows["v"]).mean(0)
    assert figures["v_varying_norm"] == pytest.approx(float(varying.square().sum(1).mean().sqrt()), rel=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        {"matrix": "per_layer", "intercept": True, "ridge": "cv"},
        {"features": "all_layers", "ridge": "cv", "intercept": True, "rank": 4},
        {"features": "pooled", "ridge": "gcv", "intercept": "per_language", "rank": 4},
    ],
)
def test_stage_measures_the_papers_map_beside_any_other(
    config: dict[str, object], tmp_path: Path, checkpoint: Path
) -> None:
    pairs = [
        translated_pair(
            number, flores_code=("swh_Latn", "yor_Latn")[number % 2], language_code=("swh", "yor")[number % 2]
        )
        for number in range(30)
    ]
    _, matrix, figures, _ = run_stage(tmp_path / "t", pairs, checkpoint, held_out_fraction=0.25, **config)
    _, shared, alone, _ = run_stage(tmp_path / "p", pairs, checkpoint, held_out_fraction=0.25)
    assert "paper" not in alone and matrix.shape != shared.shape
    assert figures["paper"] == {name: alone[name] for name in figures["paper"]}
    assert figures["within_r2"] != figures["paper"]["within_r2"]
    assert len(figures["held_out_layer_cosine"]) == 3 and figures["v_norm"] == alone["v_norm"]
    loaded = CrossLingualModel.from_pretrained(
        checkpoint, transform_matrix=tmp_path / "t" / "transform_matrix.safetensors"
    ).transform
    assert loaded is not None and loaded.features == config.get("features", "layer")
    assert loaded.languages == (("swh_Latn", "yor_Latn") if config["intercept"] == "per_language" else ())
    assert ("cv_curves" in figures) == (config["ridge"] == "cv")
