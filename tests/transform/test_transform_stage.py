"""The transform stage on a tiny checkpoint: who is fitted, what is written, and what is refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.model import checkpoint as files_of_checkpoints
from cc_tuning.stages.transform import build_transform
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.sampling import draw_pairs
from data_contracts.parquet import read_parquet
from data_contracts.schemas import QuarantinedRow
from tests.checkpoints import save_plain_checkpoint
from tests.reference.least_squares import figures_by_layer, least_squares_matrix
from tests.transform.transform_runs import prepared, run_stage, translated_pair

LAYERS, HIDDEN = 3, 32


def _one_by_one(
    checkpoint: Path, tokenizer: PreTrainedTokenizerBase, pairs: list[dict[str, object]], side: str
) -> np.ndarray:
    """Activations `[N, L, D]` float64 of each prompt alone."""
    model, prompts = CrossLingualModel.from_pretrained(checkpoint), ChatPrompts(tokenizer)
    rows = []
    for pair in pairs:
        ids = torch.tensor([prompts.encode_prompt(pair[side])])
        rows.append(model.activations(ids, torch.ones_like(ids), torch.tensor([ids.shape[1] - 1]))[0])
    return torch.stack(rows).double().numpy()


def test_stage_fits_what_least_squares_fits_and_measures_the_held_out_pairs(
    tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = [translated_pair(number) for number in range(40)]
    counts, matrix, diagnostics, splits = run_stage(tmp_path / "t", pairs, checkpoint, held_out_fraction=0.25, ridge=0)
    assert (counts.read, counts.kept, counts.not_selected) == (40, 40, 0)
    assert sorted(splits.values()) == ["fit"] * 30 + ["held_out"] * 10
    fitted = [pair for pair in pairs if splits[pair["pair_id"]] == "fit"]
    held_out = [pair for pair in pairs if splits[pair["pair_id"]] == "held_out"]
    F, F_en = (_one_by_one(checkpoint, tiny_tokenizer, fitted, side) for side in ("inputs", "inputs_en"))
    W, rank = least_squares_matrix(F.reshape(-1, HIDDEN), F_en.reshape(-1, HIDDEN))
    assert matrix.shape == (HIDDEN, HIDDEN)
    assert diagnostics["rank"] == rank
    # the fits see activations that differ by float32 rounding, so the predictions are compared
    np.testing.assert_allclose(F @ matrix.double().numpy(), F @ W, atol=2e-4 * np.abs(F_en).max())
    mean = F_en.reshape(-1, HIDDEN).mean(0)
    H, H_en = (_one_by_one(checkpoint, tiny_tokenizer, held_out, side) for side in ("inputs", "inputs_en"))
    for rows, english, prefix in ((F, F_en, ""), (H, H_en, "held_out_")):
        for name, values in figures_by_layer(rows, english, matrix.double().numpy(), mean).items():
            assert diagnostics[f"{prefix}layer_{name}"] == pytest.approx(values, rel=1e-3), prefix + name
    assert diagnostics["pairs"] == 30 and diagnostics["held_out_pairs"] == 10
    assert diagnostics["rows"] == 30 * LAYERS
    assert diagnostics["mean_r2"] == pytest.approx(0, abs=1e-9)


def test_held_out_pairs_do_not_change_the_matrix(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [translated_pair(number) for number in range(20)]
    _, matrix, _, splits = run_stage(tmp_path / "a", pairs, checkpoint)
    changed = [
        pair | {"inputs_en": "Something else entirely."} if splits[pair["pair_id"]] == "held_out" else pair
        for pair in pairs
    ]
    _, again, _, same_splits = run_stage(tmp_path / "b", changed, checkpoint)
    assert splits == same_splits
    assert list(splits.values()).count("held_out") == 2
    assert torch.equal(matrix, again)


def test_order_of_pairs_and_batch_size_do_not_matter(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [translated_pair(number) for number in range(30)]
    _, matrix, diagnostics, splits = run_stage(tmp_path / "a", pairs, checkpoint, pairs=20)
    _, again, other, same_splits = run_stage(tmp_path / "b", pairs[::-1], checkpoint, batch=7, pairs=20)
    assert splits == same_splits
    assert diagnostics["mse"] == pytest.approx(other["mse"], rel=1e-3)
    assert float((matrix - again).abs().max()) < 1e-2 * float(matrix.abs().max())


def test_english_rows_are_never_sampled_and_others_up_to_the_number_asked_for(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [translated_pair(number, "english" if number % 3 == 0 else "given") for number in range(30)]
    counts, _, _, splits = run_stage(tmp_path / "t", pairs, checkpoint, pairs=12)
    assert (counts.read, counts.kept, counts.not_selected) == (30, 12, 18)
    assert all(int(pair_id[-3:]) % 3 for pair_id in splits)
    other = run_stage(tmp_path / "u", pairs, checkpoint, pairs=12, seed=1)[3]
    assert set(other) != set(splits)


def test_pairs_below_the_quality_are_not_sampled(tmp_path: Path, checkpoint: Path) -> None:
    rows = [translated_pair(number, quality=quality) for number, quality in enumerate([0.2, 0.5, 0.8, 1.0])]
    counts, _, _, splits = run_stage(tmp_path / "some", rows, checkpoint, min_quality=0.5)
    assert set(splits) == {"pair-001", "pair-002", "pair-003"}
    assert (counts.read, counts.kept, counts.not_selected) == (4, 3, 1)
    with pytest.raises(TransformFailed, match=r"of 2 pairs, .* 2 are below the quality of 0\.9"):
        build_transform(prepared(tmp_path / "none", rows[:2], checkpoint, min_quality=0.9))


def test_fewer_pairs_than_asked_for_are_fitted_and_the_rank_is_told(tmp_path: Path, checkpoint: Path) -> None:
    _, matrix, diagnostics, splits = run_stage(tmp_path / "t", [translated_pair(1)], checkpoint)
    assert list(splits.values()) == ["fit"]
    assert diagnostics["rank"] <= LAYERS < HIDDEN  # type: ignore[operator]
    assert diagnostics["held_out_pairs"] == 0 and "held_out_mse" not in diagnostics
    assert torch.isfinite(matrix).all()


def test_too_long_prompts_are_quarantined_and_replaced(tmp_path: Path, checkpoint: Path) -> None:
    pairs = [
        translated_pair(number, inputs="neno " * 400) if number < 3 else translated_pair(number) for number in range(8)
    ]
    counts, _, _, splits = run_stage(tmp_path / "t", pairs, checkpoint, pairs=5)
    assert len(splits) == 5
    quarantined = read_parquet(tmp_path / "t" / "quarantine.parquet", QuarantinedRow)
    assert counts.quarantined == {"prompt_longer_than_context": quarantined.height}
    assert set(quarantined["row_id"]) <= {"pair-000", "pair-001", "pair-002"}


def test_only_english_rows_leave_nothing_to_fit(tmp_path: Path, checkpoint: Path) -> None:
    build = prepared(tmp_path / "t", [translated_pair(number, "english") for number in range(4)], checkpoint)
    with pytest.raises(TransformFailed, match="4 are English"):
        build_transform(build)


def test_checkpoint_without_a_connection_is_refused(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    plain = save_plain_checkpoint(tmp_path / "plain", tiny_llama_directory, tiny_tokenizer)
    with pytest.raises(ConfigError):
        build_transform(prepared(tmp_path / "t", [translated_pair(1)], plain))


def test_diverged_checkpoint_names_the_pairs(
    tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_of_checkpoints, "require_finite", lambda *_: None)  # refused when they are read
    model = CrossLingualModel.from_pretrained(checkpoint)
    with torch.no_grad():
        model.base.get_input_embeddings().weight.fill_(torch.nan)
    model.save_pretrained(tmp_path / "nan", ChatPrompts(tiny_tokenizer).stop_token_ids)
    tiny_tokenizer.save_pretrained(tmp_path / "nan")
    with pytest.raises(TransformFailed, match=r"NaN or infinite, pair_id \['pair-"):
        build_transform(prepared(tmp_path / "t", [translated_pair(1), translated_pair(2)], tmp_path / "nan"))


def test_adding_rows_keeps_most_of_the_sample(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = ChatPrompts(tiny_tokenizer)

    def drawn(rows: int) -> set[str]:
        pairs = pl.DataFrame([translated_pair(number) for number in range(rows)])
        sample = draw_pairs(pairs, prompts, count=50, held_out_fraction=0.1, seed=0, context_tokens=512)
        return {pair.pair_id for pair in (*sample.fit, *sample.held_out)}

    # each of the 50 smallest hashes of 200 is still among the 50 smallest of 220 with probability about 200/220
    assert len(drawn(200) & drawn(220)) >= 38
