"""R² within language and layer against loops over rows, and what a constant is worth by it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.runtime.progress import no_progress
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.activations import ActivationBatch
from cc_tuning.transform.sampling import Sample, draw_pairs
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool
from cc_tuning.transform.within import measure_within
from tests.transform.transform_runs import run_stage, translated_pair

L, D = 3, 8
Rows = np.ndarray


def drawn(pairs: int, seed: int) -> tuple[Rows, Rows]:
    """`F` and `F_en [n, L, D]` whose means differ by layer far more than their rows do."""
    draw = np.random.default_rng(seed)
    base = 10 * np.arange(1, L + 1)[:, None]
    return draw.normal(size=(pairs, L, D)) + base, draw.normal(size=(pairs, L, D)) + base


def spool_of(folder: Path, sides: dict[str, tuple[Rows, Rows]], batch: int = 4) -> ActivationSpool:
    spool = ActivationSpool(folder / "rows", L, D, torch.device("cpu"))
    total = sum(len(own) for own, _ in sides.values())
    for split, (own, english) in sides.items():
        order = np.random.default_rng(0).permutation(len(own))  # rows come in another order than pairs
        batches = [
            ActivationBatch(torch.from_numpy(own[at]), torch.from_numpy(english[at]), torch.from_numpy(at))
            for at in np.array_split(order, max(1, len(own) // batch))
        ]
        spool.fill(split, iter(batches), total, no_progress)
    return spool


def slow_within(
    rows: tuple[Rows, Rows], languages: Sequence[str], fitted: Rows, fitted_languages: Sequence[str], W: Rows, new: bool
) -> list[float]:
    """R² of each layer, row by row."""
    scores = []
    for layer in range(L):
        squares = spread = 0.0
        for own, english, language in zip(*rows, languages, strict=True):
            peers = [at[layer] for at, name in zip(fitted, fitted_languages, strict=True) if name == language]
            n = len(peers)
            if n < 2:
                continue
            mean = sum(peers) / n
            factor = n / (n + 1) if new else n / (n - 1)
            squares += ((own[layer] @ W - english[layer]) ** 2).sum()
            spread += factor * ((english[layer] - mean) ** 2).sum()
        scores.append(1 - squares / spread)
    return scores


def test_figures_are_those_of_loops_over_rows(tmp_path: Path) -> None:
    fitted, held_out = drawn(17, 0), drawn(9, 1)
    languages = {
        FIT: ["sw"] * 9 + ["yo"] * 7 + ["ha"],
        HELD_OUT: ["yo", "sw", "sw", "ha", "fr", "yo", "sw", "sw", "sw"],
    }
    W = np.random.default_rng(2).normal(size=(D, D)) / D
    spool = spool_of(tmp_path, {FIT: fitted, HELD_OUT: held_out})
    figures = measure_within(spool, TransformMatrix(torch.from_numpy(W)), languages)
    for prefix, rows, split in (("", fitted, FIT), ("held_out_", held_out, HELD_OUT)):
        for name, matrix in (("", W), ("identity_", np.eye(D))):
            slow = slow_within(rows, languages[split], fitted[1], languages[FIT], matrix, split == HELD_OUT)
            assert figures[f"{prefix}layer_within_{name}r2"] == pytest.approx(slow, rel=1e-9)
            assert figures[f"{prefix}within_{name}r2"] == pytest.approx(np.mean(slow), rel=1e-9)
    # one pair in Hausa is too few for a mean, and French has none
    assert (figures["within_pairs"], figures["within_pairs_left_out"]) == (16, 1)
    assert (figures["held_out_within_pairs"], figures["held_out_within_pairs_left_out"]) == (7, 2)
    assert figures["within_languages"]["ha"] == {"pairs": 1, "held_out_pairs": 1, "held_out_within_r2": None}
    swahili = [place for place, name in enumerate(languages[HELD_OUT]) if name == "sw"]
    only = slow_within(
        (held_out[0][swahili], held_out[1][swahili]), ["sw"] * len(swahili), fitted[1], languages[FIT], W, new=True
    )
    assert figures["within_languages"]["sw"]["held_out_within_r2"] == pytest.approx(np.mean(only), rel=1e-9)


def test_varying_share_is_what_is_left_beside_the_constants(tmp_path: Path) -> None:
    own, english = drawn(40, 3)
    languages = {FIT: ["sw"] * 20 + ["yo"] * 20, HELD_OUT: []}
    figures = measure_within(spool_of(tmp_path, {FIT: (own, english)}), TransformMatrix(torch.eye(D)), languages)
    for layer in range(L):
        varying = sum(20 / 19 * ((part - part.mean(0)) ** 2).sum() for part in np.split(english[:, layer], 2))
        assert figures["layer_varying_share"][layer] == pytest.approx(varying / (english[:, layer] ** 2).sum())
    # rows of variance 1 about 10, 20 and 30; 304 degrees of freedom estimate it within 8 %
    assert figures["layer_varying_share"] == pytest.approx([1 / 101, 1 / 401, 1 / 901], rel=0.3)
    assert figures["held_out_within_r2"] is None and figures["held_out_within_pairs"] == 0


def test_a_constant_that_knows_language_and_layer_is_worth_nothing(tmp_path: Path) -> None:
    """However few pairs a language has: a mean of three rows must not make the constant look like knowledge."""
    languages = [f"language-{number}" for number in range(200)]
    draw = np.random.default_rng(4)
    offsets = 5 * draw.normal(size=(len(languages), 1, L, D))
    fitted, held_out = ((offsets + draw.normal(size=(len(languages), each, L, D))).reshape(-1, L, D) for each in (3, 2))
    # the identity hands the true constants over as predictions
    constants = {FIT: np.repeat(offsets[:, 0], 3, axis=0), HELD_OUT: np.repeat(offsets[:, 0], 2, axis=0)}
    spool = spool_of(tmp_path, {FIT: (constants[FIT], fitted), HELD_OUT: (constants[HELD_OUT], held_out)})
    names = {FIT: list(np.repeat(languages, 3)), HELD_OUT: list(np.repeat(languages, 2))}
    figures = measure_within(spool, TransformMatrix(torch.eye(D)), names)
    assert figures["held_out_within_r2"] == pytest.approx(0, abs=0.03)
    assert figures["within_r2"] == pytest.approx(0, abs=0.03)


def sample_of(tokenizer: PreTrainedTokenizerBase, english: Sequence[str], fraction: float) -> Sample:
    rows = [translated_pair(number, inputs_en=text) for number, text in enumerate(english)]
    return draw_pairs(
        pl.DataFrame(rows), ChatPrompts(tokenizer), count=len(rows), held_out_fraction=fraction, seed=0,
        context_tokens=512,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), min_size=2, max_size=30))
def test_no_english_prompt_is_fitted_and_held_out(tiny_tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
    sample = sample_of(tiny_tokenizer, texts, 0.2)
    fitted, held_out = ({tuple(pair.english_input_ids) for pair in side} for side in (sample.fit, sample.held_out))
    assert not fitted & held_out
    assert len(sample.fit) + len(sample.held_out) == len(texts)
    assert sample.fit
    assert bool(sample.held_out) == (len(set(texts)) > 1)


def test_a_prompt_of_many_pairs_stays_in_the_fit(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["said in every language"] * 50 + [f"said once {number}" for number in range(50)]
    sample = sample_of(tiny_tokenizer, texts, 0.1)
    assert len(sample.held_out) == 10
    assert len({tuple(pair.english_input_ids) for pair in sample.held_out}) == 10


def test_stage_writes_the_figures_within_language_and_layer(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [translated_pair(number, language_code=("swh", "yor")[number % 2]) for number in range(40)]
    _, _, diagnostics, splits = run_stage(tmp_path / "t", pairs, checkpoint, held_out_fraction=0.25)
    sides = [splits[str(pair["pair_id"])] for pair in pairs if pair["language_code"] == "yor"]
    assert diagnostics["within_languages"]["yor"]["pairs"] == sides.count("fit")
    assert diagnostics["held_out_within_pairs"] == 10
    assert len(diagnostics["held_out_layer_within_r2"]) == 3
    assert diagnostics["held_out_within_r2"] < diagnostics["held_out_r2"]
    assert 0 < diagnostics["varying_share"] < 1
