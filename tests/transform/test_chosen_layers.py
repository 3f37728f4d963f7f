"""Maps that predict only the layers that the Decision Maker chooses: equal there, the mean elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.stages.transform import build_transform
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.fitting import fit_spooled
from cc_tuning.transform.spool import FIT
from tests.checkpoints import save_connected_checkpoint
from tests.transform.spooled_rows import pairs_of, spool_of
from tests.transform.transform_runs import prepared, run_stage, translated_pair

N, L, D = 40, 4, 6
LANGUAGES = ["swh_Latn", "yor_Latn"]
CHOSEN = (1, 3)
FORMS: dict[str, dict[str, Any]] = {
    "per layer": {"matrix": "per_layer"},
    "per layer, folds": {"matrix": "per_layer", "ridge": "cv"},
    "all layers": {"features": "all_layers", "rank": 1000, "ridge": 0.1},
    "all layers, landmarks": {
        "features": "all_layers", "rank": 1000, "ridge": 0.1, "kernel": "landmarks", "landmarks": 15,
    },
    "pooled": {"features": "pooled", "rank": 1000, "ridge": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("intercept", [True, "per_language"])
@pytest.mark.parametrize("form", FORMS)
def test_chosen_layers_are_predicted_as_by_the_unrestricted_map_and_others_by_their_mean(
    tmp_path: Path, form: str, intercept: bool | str
) -> None:
    draw = np.random.default_rng(0)
    own, english = draw.normal(size=(2, N, L, D)) + 3 * np.arange(L)[:, None]
    english += own
    pooled = draw.normal(size=(N, L - 1, D))
    spool = spool_of(tmp_path, {FIT: (own, english)}, {FIT: pooled})
    spool.chosen_layers = CHOSEN
    languages = [LANGUAGES[place % 2] for place in range(N)]
    pairs = pairs_of([place // 2 for place in range(N)], languages)

    def predicted(**targets: Any) -> np.ndarray:
        config = FitConfig.model_validate(FORMS[form] | {"intercept": intercept} | targets)
        fit = fit_spooled(spool, config, pairs)
        np.testing.assert_allclose(fit.english_mean.numpy(), english.mean((0, 1)))
        transform = fit.transform.to("cpu", torch.float64)
        places = transform.places_of(languages, torch.device("cpu")) if transform.languages else None
        return transform.apply(torch.from_numpy(own), torch.from_numpy(pooled), places).numpy()

    whole, restricted = predicted(), predicted(targets="chosen")
    np.testing.assert_allclose(restricted[:, CHOSEN], whole[:, CHOSEN], rtol=1e-4, atol=1e-4)
    groups = [list(range(N))] if intercept is True else [list(range(q, N, 2)) for q in range(2)]
    for group in groups:
        for layer in set(range(L)) - set(CHOSEN):
            mean = np.broadcast_to(english[group, layer].mean(0), (len(group), D))
            np.testing.assert_allclose(restricted[group, layer], mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "form", [{"matrix": "shared", "intercept": True}, {"matrix": "per_layer"}, {"features": "pooled"}]
)
def test_a_map_that_cannot_hold_the_means_of_layers_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="predicted by their mean, for which a map needs an intercept"):
        FitConfig.model_validate({"targets": "chosen", **form})


def test_the_stage_restricts_to_the_layers_that_the_decision_maker_chooses(
    tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = [translated_pair(number) for number in range(30)]
    form = {"matrix": "per_layer", "intercept": True, "targets": "chosen"}
    _, _, diagnostics, splits = run_stage(tmp_path / "t", pairs, checkpoint, **form)
    model, prompts = CrossLingualModel.from_pretrained(checkpoint), ChatPrompts(tiny_tokenizer)
    transform = TransformMatrix.taken_from(load_file(tmp_path / "t" / "transform_matrix.safetensors"))
    assert transform is not None
    counts, outside, same = [0] * 3, [], []
    for pair in pairs:
        (ids,), (english,) = (torch.tensor([[prompts.encode_prompt(pair[side])]]) for side in ("inputs", "inputs_en"))
        F, F_en = (model.activations(of, torch.ones_like(of), torch.tensor([of.shape[1] - 1])) for of in (ids, english))
        layers = [
            int(model.decide(source, model.embed(ids[:, -1]), torch.zeros(1), None).selected_layer)
            for source in (F_en, transform.apply(F))
        ]
        if splits[str(pair["pair_id"])] == "fit":
            counts[layers[0]] += 1
        else:
            same.append(layers[0] == layers[1])
            outside.append(layers[1])
    assert diagnostics["layer_chosen"] == counts
    assert 0 in counts, "the tiny checkpoint leaves a layer out, or nothing is tested here"
    for layer, count in enumerate(counts):
        assert bool(transform.matrix[layer].any()) == (count > 0)
    assert diagnostics["held_out_same_choice"] == pytest.approx(np.mean(same))
    assert diagnostics["held_out_choice_of_constant"] == pytest.approx(np.mean([not counts[at] for at in outside]))


def test_a_selector_that_chooses_no_layer_is_refused(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    connection = ConnectionConfig(selector="mean")
    mean = save_connected_checkpoint(tmp_path / "mean", tiny_llama_directory, tiny_tokenizer, connection)
    form = {"matrix": "per_layer", "intercept": True, "targets": "chosen"}
    with pytest.raises(ConfigError, match="selector is 'mean'"):
        build_transform(prepared(tmp_path / "t", [translated_pair(1), translated_pair(2)], mean, **form))
