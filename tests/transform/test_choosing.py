"""Maps that are chosen on held-out pairs: by what the model makes of them, or by how much they predict."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.runtime.progress import no_progress
from cc_tuning.stages.transform import build_transform
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from cc_tuning.transform.activations import SampledPair, sampled_activations
from cc_tuning.transform.choosing import PAPERS, Candidate, best_of, candidates_of, choose_map
from cc_tuning.transform.config import ChoosingConfig
from cc_tuning.transform.likelihoods import ResponseLikelihoods, clustered_error
from cc_tuning.transform.maps import fit_alone
from cc_tuning.transform.sampling import Sample, draw_pairs
from cc_tuning.transform.spool import ActivationSpool
from tests.reference.connection import connection_vector, run_row
from tests.transform.transform_runs import prepared, translated_pair

PER_LAYER = {"matrix": "per_layer", "intercept": True, "ridge": 0.1}
ALL_LAYERS = {"features": "all_layers", "ridge": 0.3, "rank": 8}
BY_LANGUAGE = {"features": "all_layers", "intercept": "per_language"}
HIDDEN = 32

Open = tuple[CrossLingualModel, Sample, ActivationSpool]


def _rows(count: int = 30) -> list[dict[str, object]]:
    return [translated_pair(number, targets=f" Jibu la {number}. ") for number in range(count)]


def _diagnostics(folder: Path, rows: list[dict[str, object]], checkpoint: Path, **config: Any) -> dict[str, Any]:
    values = {"choose_among": [PER_LAYER, ALL_LAYERS], "held_out_fraction": 0.3} | config
    build_transform(replace(prepared(folder, rows, checkpoint), config=ChoosingConfig.model_validate(values)))
    figures: dict[str, Any] = json.loads((folder / "diagnostics.json").read_text())
    return figures


@pytest.fixture
def opened(tmp_path: Path, checkpoint: Path) -> Open:
    """A model, 20 fitted and 10 held-out pairs, and their activations."""
    model, prompts = CrossLingualModel.from_pretrained(checkpoint), ChatPrompts(load_tokenizer(checkpoint))
    sample = draw_pairs(
        pl.DataFrame(_rows()), prompts, count=30, held_out_fraction=0.34, seed=0, context_tokens=512,
        with_responses=True,
    )  # fmt: skip
    spool = ActivationSpool(tmp_path / "spool", 3, HIDDEN, model.device)
    for side, pairs in sample.sides.items():
        spool.fill(side, sampled_activations(model, pairs, 8, 0), 30, no_progress)
    return model, sample, spool


@torch.no_grad()
def _slow_nll(model: CrossLingualModel, pair: SampledPair, matrix: Tensor | None) -> float:
    """Nats a token by one plain pass over prompt and response, the vector added to the first layer's block at t*."""
    prompt, response = list(pair.input_ids), list(pair.response_ids)
    weight = model.decision_maker.weight
    assert isinstance(weight, Tensor)
    vector = None if matrix is None else connection_vector(model.base, weight, matrix, prompt, 0)[0]
    logits, _ = run_row(model.base, torch.tensor([*prompt, *response]), len(prompt) - 1, vector)
    log_probabilities = logits.log_softmax(-1)
    return -sum(float(log_probabilities[len(prompt) - 1 + at, one]) for at, one in enumerate(response)) / len(response)


def test_a_gain_is_what_plain_passes_over_prompt_and_response_differ_by(opened: Open) -> None:
    model, sample, _ = opened
    matrix = torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(5))
    gains = ResponseLikelihoods(model, sample.held_out, 4).gains(TransformMatrix(matrix))
    slow = [_slow_nll(model, pair, None) - _slow_nll(model, pair, matrix) for pair in sample.held_out]
    torch.testing.assert_close(gains, torch.tensor(slow, dtype=torch.float64), atol=2e-5, rtol=1e-4)
    assert float(gains.abs().max()) > 0.01  # the connection changes what is likely


def test_the_response_that_is_scored_is_the_rows_own_without_blanks_and_end_of_turn(
    opened: Open, checkpoint: Path
) -> None:
    tokenizer = load_tokenizer(checkpoint)
    for pair in opened[1].held_out:
        assert tokenizer.decode(pair.response_ids) == f"Jibu la {int(pair.pair_id[-3:])}."
    assert not any(pair.response_ids for pair in opened[1].fit)


def test_the_map_through_which_responses_are_likely_is_chosen_and_not_the_one_that_predicts_more(opened: Open) -> None:
    """Held-out responses are what the model says through one map, while another has the larger R²."""
    model, sample, spool = opened
    config = ChoosingConfig.model_validate({"choose_among": [PER_LAYER, ALL_LAYERS]})
    fits = {name: fit_alone(spool, form, sample, None) for name, form in candidates_of(config).items()}
    r2 = {name: figures["held_out_within_r2"] for name, (_, figures) in fits.items()}
    planted, most = min(r2, key=r2.__getitem__), max(r2, key=r2.__getitem__)
    model.set_transform(fits[planted][0].transform)
    said = replace(sample, held_out=[_saying_so(model, pair) for pair in sample.held_out])
    likelihoods = ResponseLikelihoods(model, said.held_out, 4)

    def chosen(by: str) -> dict[str, Any]:
        asked = config.model_copy(update={"choose_by": by})
        figures = choose_map(spool, asked, said, None, likelihoods)[2]
        return next(at for at in figures["candidates"] if at["chosen"])

    assert planted != most
    assert chosen("likelihood")["name"] == planted
    assert chosen("r2")["name"] == most


@torch.no_grad()
def _saying_so(model: CrossLingualModel, pair: SampledPair) -> SampledPair:
    """The pair with the model's own greedy answer through its map as the response."""
    prompt = torch.tensor([pair.input_ids])
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    answer = model.generate(prompt, torch.ones_like(prompt), connection="transform", **settings)
    return replace(pair, response_ids=tuple(answer[0].tolist()[-6:]))


def test_stage_keeps_the_chosen_map_and_the_figures_of_all(tmp_path: Path, checkpoint: Path) -> None:
    rows = _rows() + [translated_pair(number, targets=" ") for number in range(30, 40)]
    figures = _diagnostics(tmp_path / "t", rows, checkpoint)
    names = [at["name"] for at in figures["candidates"]]
    assert names == [PAPERS, "matrix per_layer, intercept True, ridge 0.1", "features all_layers, rank 8, ridge 0.3"]
    (kept,) = [at for at in figures["candidates"] if at["chosen"]]
    assert figures["parameters"] == kept["parameters"]
    assert figures["held_out_within_r2"] == kept["held_out_within_r2"]
    assert ("paper" in figures) == (kept["name"] != PAPERS)
    assert figures["scored_pairs"] + figures["unscored_pairs"] == figures["held_out_pairs"] == 12
    assert figures["unscored_pairs"] == sum(pair_id >= "pair-030" for pair_id in _held_out(tmp_path / "t"))
    best = max(figures["candidates"], key=lambda at: at["gain"])
    assert best["behind"] == best["behind_error"] == 0
    assert all(at["behind"] == pytest.approx(best["gain"] - at["gain"]) for at in figures["candidates"])


def _held_out(folder: Path) -> list[str]:
    return pl.read_parquet(folder / "pairs.parquet").filter(pl.col("split") == "held_out")["pair_id"].to_list()


def test_a_second_run_chooses_the_same_by_the_same_figures(tmp_path: Path, checkpoint: Path) -> None:
    first, second = (_diagnostics(tmp_path / name, _rows(), checkpoint) for name in "ab")
    assert first == second
    files = [(tmp_path / name / "transform_matrix.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_a_map_that_cannot_be_fitted_is_refused_by_its_name(tmp_path: Path, checkpoint: Path) -> None:
    codes = ("swh_Latn", "yor_Latn", "hau_Latn", "ibo_Latn")
    rows = [translated_pair(number, flores_code=code) for number, code in enumerate(codes)]
    with pytest.raises(TransformFailed, match=r"map 'features all_layers, intercept per_language'.*leave it out"):
        _diagnostics(tmp_path / "t", rows, checkpoint, choose_among=[BY_LANGUAGE], held_out_fraction=0.5)


def test_responses_of_one_english_text_are_no_grounds_for_a_choice(opened: Open) -> None:
    model, sample, _ = opened
    alike = [replace(pair, english_input_ids=sample.held_out[0].english_input_ids) for pair in sample.held_out]
    with pytest.raises(TransformFailed, match="1 English texts among 10 held-out pairs"):
        ResponseLikelihoods(model, alike, 4)


def _candidate(name: str, parameters: int, gains: Tensor, r2: float = 0.0) -> Candidate:
    return Candidate(name, parameters, r2, gains)


def _error(values: Tensor) -> float:
    return clustered_error(values, range(len(values)))


def test_of_maps_within_one_standard_error_the_one_with_fewest_numbers_is_kept() -> None:
    noise = torch.tensor([1.0, -1.0] * 50, dtype=torch.float64)
    best = _candidate("best", 300, noise * 0 + 0.5)
    step = _error(noise)
    near = _candidate("near", 20, best.gains - 0.9 * step + noise)  # its difference to the best has the error `step`
    far = _candidate("far", 10, best.gains - 1.1 * step + noise)
    assert best_of([best, near, far], "likelihood", _error).name == "near"
    assert best_of([best, far], "likelihood", _error).name == "best"
    assert best_of([best, far, _candidate("same", 30, best.gains)], "likelihood", _error).name == "same"


def test_the_error_is_that_of_clusters() -> None:
    values = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert _error(values) == pytest.approx(float(values.std()) / math.sqrt(40))
    twice, of_pairs = values.repeat_interleave(2), [at // 2 for at in range(80)]
    assert clustered_error(twice, of_pairs) == pytest.approx(_error(values))  # a repeated row tells nothing new


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"choose_by": "r2"}, "choose_among has no map"),
        ({"choose_among": [PER_LAYER], "held_out_fraction": 0}, "hold some pairs out"),
        ({"choose_among": [PER_LAYER], "sweep_pairs": [10]}, "a curve is of one map"),
        ({"choose_among": [{"features": "all_layers", "matrix": "per_layer"}]}, "leave matrix at 'shared'"),
        ({"choose_among": [{"pairs": 10}]}, "pairs"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ChoosingConfig.model_validate(values)
