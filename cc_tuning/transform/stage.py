"""Stage `transform`: sample activation pairs of one CC-tuned checkpoint and fit its Transform Matrix.

Two looks at the sampled rows: the first sums moments, from which the matrix is solved; the second measures the error of
the matrix as stored. Between them the activations wait on disk in the artifact's folder, in the model's dtype
(1,000 pairs of an 8B model: 0.5 GB), so memory stays at O(D²) and no prompt is run twice. They are deleted at the end.

Files: `transform_matrix.safetensors` (key `transform_matrix`, `[D, D]` float32), `diagnostics.json` (flat: counts,
rank, solver, the figures of `PredictionErrors.report`, those of held-out pairs prefixed `held_out_`),
`pairs.parquet`, `quarantine.parquet`.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file

from cc_tuning.devices import limited_threads, resolve_device
from cc_tuning.errors import TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.progress import Progress
from cc_tuning.prompts import ChatPrompts, load_tokenizer
from cc_tuning.step import Build, Source, Step
from cc_tuning.transform.diagnostics import PredictionErrors
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.sampling import ActivationBatch, Sample, draw_pairs, sampled_activations
from cc_tuning.transform.solve import DEFAULT_RIDGE, TransformFit, fit_transform_matrix
from data_contracts.files import write_json, written_atomically
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import write_quarantine
from data_contracts.schemas import ParallelPair

logger = logging.getLogger(__name__)

VERSION = 2
MATRIX_FILE = "transform_matrix.safetensors"
MATRIX_KEY = "transform_matrix"
DIAGNOSTICS_FILE = "diagnostics.json"
PAIRS_FILE = "pairs.parquet"
_ACTIVATIONS = "activations"


class TransformConfig(BaseModel):
    """How the Transform Matrix is fitted (Ye et al. 2025, section 3.2.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(
        default=1000, ge=1, description="Parallel prompts to sample (paper: M = 1,000; its code ships with 10)."
    )
    held_out_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the sampled pairs that is kept out of the fit and only measured."
    )
    ridge: float = Field(
        default=DEFAULT_RIDGE,
        ge=0,
        description="Added to the diagonal of AᵀA, relative to its mean; the paper has none (0).",
    )
    seed: int = Field(default=0, ge=0, description="Which pairs are sampled and which of them are held out.")
    min_quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Quality that a translated pair needs to be sampled; unset, that of the training rows "
        "(`data.min_quality`).",
    )


class TransformPair(dy.Schema):
    """A sampled pair and its side of the split."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    split = dy.Enum(["fit", "held_out"], nullable=False)


def transform_step(config: TransformConfig, *, run: str, pairs: Source, checkpoint: Source) -> Step:
    """The step that fits the matrix of one run: `pairs` a ParallelPair file, `checkpoint` a CC-tuned directory."""
    inputs = {"pairs": pairs, "checkpoint": checkpoint}
    return Step("transform", VERSION, config, inputs, build_transform, label=f"transform {run}")


def build_transform(build: Build[TransformConfig]) -> RowCounts:
    """Fit and measure the matrix.

    Raises:
        TransformFailed: no pair could be sampled, or the activations are not finite or all zero.
        ConfigError: the checkpoint has no connection.
    """
    config, checkpoint = build.config, build.inputs["checkpoint"].path
    pairs = read_parquet(build.inputs["pairs"].path, ParallelPair)
    device = resolve_device(build.execution.device)
    model = CrossLingualModel.from_pretrained(checkpoint).to(device)
    tokenizer = load_tokenizer(checkpoint)
    sample = draw_pairs(
        pairs.filter(pl.col("quality") >= (config.min_quality or 0)),
        ChatPrompts(tokenizer),
        count=config.pairs,
        held_out_fraction=config.held_out_fraction,
        seed=config.seed,
        context_tokens=model.config.max_position_embeddings,
    )
    _require_pairs(sample, pairs, config.min_quality or 0)
    padding_id = tokenizer.pad_token_id
    assert isinstance(padding_id, int)
    with limited_threads(build.execution.threads):
        fit, figures = _fit_and_measure(build, model, sample, padding_id)
    del model
    torch.cuda.empty_cache()  # the next stage trains in another process on the same device
    _write_results(build.folder, fit, figures, sample)
    counts = write_quarantine(build.folder, [sample.quarantined])
    kept = len(sample.fit) + len(sample.held_out)
    not_selected = pairs.height - kept - sample.quarantined.height
    return RowCounts(read=pairs.height, kept=kept, quarantined=counts, not_selected=not_selected)


def _fit_and_measure(
    build: Build[TransformConfig], model: CrossLingualModel, sample: Sample, padding_id: int
) -> tuple[TransformFit, dict[str, Any]]:
    spool = build.folder / _ACTIVATIONS
    batch_size, progress = build.execution.transform_batch_size, build.progress
    moments = StreamingMoments(model.config.hidden_size, model.device)
    total = len(sample.fit) + len(sample.held_out)
    fit_batches = sampled_activations(model, sample.fit, batch_size, padding_id)
    for batch in _spooled(fit_batches, spool / "fit", 0, total, progress):
        moments.update(batch.activations.flatten(0, 1), batch.english_activations.flatten(0, 1))
    held_out_batches = sampled_activations(model, sample.held_out, batch_size, padding_id)
    for _ in _spooled(held_out_batches, spool / "held_out", len(sample.fit), total, progress):
        pass
    fit = fit_transform_matrix(moments, build.config.ridge)
    stored = fit.matrix.float()
    figures: dict[str, Any] = {}
    for split, prefix in (("fit", ""), ("held_out", "held_out_")):
        errors = PredictionErrors(stored, moments.english_mean, model.config.num_hidden_layers)
        for path in sorted((spool / split).glob("*.safetensors")):
            tensors = load_file(path, device=str(model.device))
            errors.update(tensors["activations"], tensors["english_activations"])
        figures |= {f"{prefix}pairs": errors.pairs}
        figures |= errors.report(prefix) if errors.pairs else {}
    shutil.rmtree(spool)
    return fit, figures


def _spooled(
    batches: Iterator[ActivationBatch], folder: Path, done: int, total: int, progress: Progress
) -> Iterator[ActivationBatch]:
    """The same batches, each written to `folder` as it passes."""
    folder.mkdir(parents=True)
    for number, batch in enumerate(batches):
        tensors = {"activations": batch.activations, "english_activations": batch.english_activations}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{number:06d}.safetensors")
        done += len(batch.activations)
        progress(done, total, "pairs")
        yield batch


def _write_results(folder: Path, fit: TransformFit, figures: Mapping[str, Any], sample: Sample) -> None:
    with written_atomically(folder / MATRIX_FILE) as temporary:
        save_file({MATRIX_KEY: fit.matrix.float().cpu().contiguous()}, temporary)
    hidden_size = len(fit.matrix)
    summary = {
        "rows": fit.rows,
        "hidden_size": hidden_size,
        "rank": fit.rank,
        "ridge": fit.ridge,
        "solver": fit.solver,
        "condition_number": fit.condition_number,
    }
    write_json(folder / DIAGNOSTICS_FILE, {**summary, **figures})
    splits = {pair.pair_id: "fit" for pair in sample.fit} | {pair.pair_id: "held_out" for pair in sample.held_out}
    frame = pl.DataFrame({"pair_id": list(splits), "split": list(splits.values())}).sort("pair_id")
    write_parquet(frame, folder / PAIRS_FILE, TransformPair)
    if fit.rank < hidden_size:
        logger.warning(
            "the sampled rows have rank %d of %d: the matrix maps the other directions to 0. Sample more pairs",
            fit.rank, hidden_size,
        )  # fmt: skip
    logger.info(
        "fitted on %d pairs (%d rows, rank %d of %d) | R² %s fitted, %s held out (identity %s)",
        figures["pairs"], fit.rows, fit.rank, hidden_size,
        *(_rounded(figures.get(name)) for name in ("r2", "held_out_r2", "held_out_identity_r2")),
    )  # fmt: skip


def _rounded(figure: float | None) -> str:
    return "not measured" if figure is None else f"{figure:.4f}"


def _require_pairs(sample: Sample, pairs: pl.DataFrame, min_quality: float) -> None:
    if not sample.fit:
        english = pairs.filter(pl.col("origin") == "english").height
        below = pairs.filter(pl.col("origin") != "english", pl.col("quality") < min_quality).height
        raise TransformFailed(
            f"no Transform Matrix: of {pairs.height} pairs, {english} are English (both sides equal), {below} are "
            f"below the quality of {min_quality} and {sample.quarantined.height} have a prompt longer than the model's "
            "context; at least one other is needed. Choose rows in other languages, shorter ones, or a lower "
            "`transform.min_quality`"
        )
