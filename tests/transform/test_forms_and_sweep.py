"""One matrix per layer, and the sweep over the number of pairs: on made-up rows, and through the stage."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaModel

from cc_tuning.model import CrossLingualModel
from cc_tuning.runtime.progress import no_progress
from cc_tuning.transform.activations import ActivationBatch
from cc_tuning.transform.config import TransformConfig
from cc_tuning.transform.fitting import FittedTransform, fit_spooled, measure
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool
from cc_tuning.transform.sweep import sweep
from data_contracts.errors import ArtifactMismatch
from tests.reference.least_squares import least_squares_matrix, ridge_matrix, ridge_with_intercept
from tests.transform.transform_runs import run_stage, translated_pair

L, D = 3, 8
MATRICES = ("shared", "per_layer")


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _spool(folder: Path, fitted: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> ActivationSpool:
    """Rows `[N, L, D]` of both sides, spooled in an order that is not theirs."""

    def batches(F: Tensor, F_en: Tensor) -> Iterator[ActivationBatch]:
        order = torch.randperm(len(F), generator=torch.Generator().manual_seed(len(F)))
        for places in order.split(7):
            yield ActivationBatch(F[places], F_en[places], places)

    spool = ActivationSpool(folder / "rows", L, D, torch.device("cpu"))
    for split, rows in ((FIT, fitted), (HELD_OUT, held_out)):
        spool.fill(split, batches(*rows), len(fitted[0]) + len(held_out[0]), no_progress)
    return spool


def _rows(pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`F` and `F_en [pairs, L, D]` float32, another noisy map with a shift in each layer."""
    F = _normal(pairs, L, D, seed=seed) + 1
    maps, shifts = _normal(L, D, D, seed=90), _normal(L, D, seed=91)
    noise = 0.5 * _normal(pairs, L, D, seed=seed + 1)
    return F, torch.stack([F[:, layer] @ maps[layer] + shifts[layer] for layer in range(L)], dim=1) + noise


def _config(**choices: object) -> TransformConfig:
    return TransformConfig.model_validate(choices)


def _slow_maps(F: np.ndarray, F_en: np.ndarray, config: TransformConfig) -> dict[int, tuple[np.ndarray, Any]]:
    """`W` and `b` of each layer by explicit least squares, on the rows of all layers or of that layer."""
    groups = [list(range(L))] if config.matrix == "shared" else [[layer] for layer in range(L)]
    maps: dict[int, tuple[np.ndarray, Any]] = {}
    for group in groups:
        A, B = (side[:, group].reshape(-1, D) for side in (F, F_en))
        centred = A - A.mean(0) if config.intercept else A
        # a single row has no spread, and then any penalty at all leaves W = 0
        penalty = config.ridge * float((centred**2).sum()) / D or 1e-6
        found = ridge_with_intercept(A, B, penalty) if config.intercept else (ridge_matrix(A, B, penalty), 0)
        maps |= dict.fromkeys(group, found)
    return maps


def _slow_error(maps: Mapping[int, tuple[np.ndarray, Any]], F: np.ndarray, F_en: np.ndarray) -> float:
    return float(np.mean([(F[:, layer] @ W + b - F_en[:, layer]) ** 2 for layer, (W, b) in maps.items()]))


def test_matrices_per_layer_recover_the_known_map_of_each_layer(tmp_path: Path) -> None:
    F, maps, shifts = _normal(40, L, D, seed=0), _normal(L, D, D, seed=1), _normal(L, D, seed=2)
    F_en = torch.einsum("nld,lde->nle", F.double(), maps.double()).float() + shifts
    spool = _spool(tmp_path, (F, F_en), (F[:2], F_en[:2]))
    fitted = fit_spooled(spool, _config(matrix="per_layer", intercept=True, ridge=0))
    torch.testing.assert_close(fitted.transform.matrix, maps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fitted.transform.intercept, shifts, rtol=1e-5, atol=1e-5)
    assert measure(spool, fitted)["held_out_mse"] < 1e-10
    shared = measure(spool, fit_spooled(spool, _config(intercept=True, ridge=0)))
    assert shared["held_out_mse"] > 0.1, "one map for all layers cannot be right here"


def test_figures_of_layers_name_the_worst_and_all_of_them(tmp_path: Path) -> None:
    F, F_en = _rows(30)
    F[:, 1, 2:] = 0  # two directions in layer 1
    spool = _spool(tmp_path, (F, F_en), (F[:2], F_en[:2]))
    summary = fit_spooled(spool, _config(matrix="per_layer", ridge=0)).summary()
    expected = [least_squares_matrix(F[:, layer].double().numpy(), F_en[:, layer].numpy())[1] for layer in range(L)]
    assert expected == [D, 2, D]
    assert (summary["layer_rank"], summary["rank"], summary["rows"]) == (expected, 2, 30 * L)
    assert (summary["layer_solver"], summary["solver"]) == (["cholesky", "eigenvalues", "cholesky"], "eigenvalues")
    assert summary["condition_number"] == max(summary["layer_condition_number"])


@pytest.mark.parametrize(("matrix", "intercept"), product(MATRICES, [False, True]))
def test_sweep_equals_a_separate_fit_at_each_number_of_pairs(tmp_path: Path, matrix: str, intercept: bool) -> None:
    fitted, held_out = _rows(40), _rows(9, seed=50)
    spool = _spool(tmp_path, fitted, held_out)
    config = _config(matrix=matrix, intercept=intercept, ridge=1e-3, sweep_pairs=[1, 2, 10, 25, 40, 100])
    whole = fit_spooled(spool, config)
    points = sweep(spool, config, whole, measure(spool, whole))
    assert [point["pairs"] for point in points] == [1, 2, 10, 25, 40], "capped at what there is"
    F, F_en, H, H_en = (side.double().numpy() for side in (*fitted, *held_out))
    for point in points:
        M = point["pairs"]
        maps = _slow_maps(F[:M], F_en[:M], config)
        assert point["rows"] == M * L
        assert point["mse"] == pytest.approx(_slow_error(maps, F[:M], F_en[:M]), rel=1e-4, abs=1e-9)
        assert point["held_out_mse"] == pytest.approx(_slow_error(maps, H, H_en), rel=1e-4)


@pytest.mark.parametrize("matrix", MATRICES)
def test_sweep_chooses_the_ridge_anew_at_each_number_of_pairs(tmp_path: Path, matrix: str) -> None:
    fitted, held_out = _rows(40), _rows(9, seed=50)
    config = _config(matrix=matrix, ridge="gcv", sweep_pairs=[5, 12])
    points = sweep(_spool(tmp_path / "all", fitted, held_out), config, *_fit(tmp_path / "a", fitted, held_out, config))
    for point in points:
        some = tuple(side[: point["pairs"]] for side in fitted)
        alone = _fit(tmp_path / str(point["pairs"]), some, held_out, config)[1]
        assert point["mse"] == pytest.approx(alone["mse"], rel=1e-5)
        assert point["held_out_mse"] == pytest.approx(alone["held_out_mse"], rel=1e-5)


def _fit(
    folder: Path, fitted: Any, held_out: Any, config: TransformConfig
) -> tuple[FittedTransform, Mapping[str, Any]]:
    spool = _spool(folder, fitted, held_out)
    found = fit_spooled(spool, config)
    return found, measure(spool, found)


def test_sweep_runs_no_prompt_twice_and_changes_no_bit_of_the_matrix(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [translated_pair(number) for number in range(30)]
    prompts_run = 0

    def count(module: nn.Module, inputs: Any, arguments: Mapping[str, Any], output: Any) -> None:
        nonlocal prompts_run
        prompts_run += len(arguments["input_ids"]) if isinstance(module, LlamaModel) else 0

    with nn.modules.module.register_module_forward_hook(count, with_kwargs=True):
        _, matrix, diagnostics, _ = run_stage(tmp_path / "a", pairs, checkpoint)
        without_sweep = prompts_run
        _, again, with_sweep, _ = run_stage(tmp_path / "b", pairs, checkpoint, sweep_pairs=[1, 5, 20, 1000])
    # both sides of each pair for the fit, once more for the picture of languages, and of held-out ones for strength
    held_out = diagnostics["held_out_pairs"]
    assert (without_sweep, prompts_run) == (4 * len(pairs) + 2 * held_out, 8 * len(pairs) + 4 * held_out)
    assert torch.equal(matrix, again)
    points = with_sweep.pop("sweep")
    assert with_sweep == diagnostics
    assert [point["pairs"] for point in points] == [1, 5, 20, 27]
    assert (points[-1]["mse"], points[-1]["held_out_mse"]) == (diagnostics["mse"], diagnostics["held_out_mse"])
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == [
        "diagnostics.json", "embedding.json", "pairs.parquet", "quarantine.parquet", "transform_matrix.safetensors",
    ]  # fmt: skip


def test_one_pair_has_a_curve_of_one_point_without_held_out_error(tmp_path: Path, checkpoint: Path) -> None:
    diagnostics = run_stage(tmp_path / "t", [translated_pair(1)], checkpoint, sweep_pairs=[1, 10])[2]
    (point,) = diagnostics["sweep"]
    assert (point["pairs"], point["held_out_mse"]) == (1, None)


@pytest.mark.parametrize(("matrix", "intercept", "ridge"), product(MATRICES, [False, True], [0, 1e-6, "gcv"]))
def test_every_combination_is_fitted_and_answers(
    tmp_path: Path, checkpoint: Path, matrix: str, intercept: bool, ridge: float | str
) -> None:
    pairs = [translated_pair(number) for number in range(24)]
    diagnostics = run_stage(
        tmp_path / "t", pairs, checkpoint, matrix=matrix, intercept=intercept, ridge=ridge, sweep_pairs=[3]
    )[2]
    assert (diagnostics["matrix"], diagnostics["intercept"]) == (matrix, intercept)
    assert diagnostics["ridge_choice"] == ("gcv" if ridge == "gcv" else "fixed")
    assert ("gcv_score" in diagnostics) == (ridge == "gcv")
    assert len(diagnostics["sweep"]) == 2
    model = CrossLingualModel.from_pretrained(
        checkpoint, transform_matrix=tmp_path / "t" / "transform_matrix.safetensors"
    )
    assert model.transform_matrix.dim() == (3 if matrix == "per_layer" else 2)
    assert (model.transform_intercept is not None) == intercept
    ids = torch.tensor([[5, 6, 7]])
    assert model.generate(ids, torch.ones_like(ids), max_new_tokens=2, do_sample=False).shape == (1, 5)


def test_matrix_fitted_here_is_refused_by_another_training(tmp_path: Path, checkpoint: Path) -> None:
    run_stage(tmp_path / "t", [translated_pair(number) for number in range(6)], checkpoint)
    model = CrossLingualModel.from_pretrained(checkpoint)
    with torch.no_grad():
        model.decision_maker.weight[0, 0] += 1e-3
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(ArtifactMismatch, match="fitted on other weights"):
        CrossLingualModel.from_pretrained(
            tmp_path / "other", transform_matrix=tmp_path / "t" / "transform_matrix.safetensors"
        )
