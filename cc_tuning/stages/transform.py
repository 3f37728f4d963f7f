"""Stage `transform`: sample activation pairs of one CC-tuned checkpoint and fit its Transform Matrix.

Prompts are run once for the fit. Their activations wait on disk (`cc_tuning.transform.spool`) and are looked at as
often as needed: for the moments from which the matrix is solved, for the error of the matrix as stored, and for the
sweep over the number of pairs. They are deleted at the end.

Files: `transform_matrix.safetensors` (float32: the tensors of `TransformMatrix`; its metadata name the checkpoint),
`diagnostics.json` (flat: the form of the map, counts, rank, solver, the curve of a ridge by cross-validation, the
figures of `PredictionErrors.report`, `measure_within`, `measure_agreement` and `connection_strength`, those of held-out
pairs prefixed `held_out_`; the list `sweep` if one was asked for; and for any map but the paper's, `paper` with the
figures of that one, fitted on the same pairs; with `targets: chosen`, `layer_chosen`, for how many fitted pairs each
layer is chosen, and the figures of `Choices.measure`; with `choose_among`, those of `choose_map`, all others being of
the chosen map), `embedding.json` (`cc_tuning.transform.embedding` of the tuned model, and of the base model where that
is an input), `pairs.parquet`, `quarantine.parquet`.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import torch
from torch import nn
from transformers import PreTrainedModel

from cc_tuning.errors import TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.checkpoint import downloaded_model, read_base_model
from cc_tuning.model.transform_file import Origin, write_transform_matrix
from cc_tuning.runtime.devices import limited_threads, resolve_device
from cc_tuning.runtime.step import Build
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from cc_tuning.transform.activations import sampled_activations
from cc_tuning.transform.agreement import CANDIDATES
from cc_tuning.transform.choices import Choices
from cc_tuning.transform.choosing import choose_map
from cc_tuning.transform.config import ChoosingConfig, FitConfig, MapConfig, TransformConfig
from cc_tuning.transform.embedding import embedded_pairs, embedding
from cc_tuning.transform.fitting import FittedTransform
from cc_tuning.transform.likelihoods import ResponseLikelihoods
from cc_tuning.transform.maps import fit_and_measure
from cc_tuning.transform.sampling import Sample, draw_pairs
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool
from cc_tuning.transform.strength import connection_strength
from data_contracts.files import write_json
from data_contracts.layout import DIAGNOSTICS, EMBEDDING, TRANSFORM_MATRIX, TRANSFORM_PAIRS
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import write_quarantine
from data_contracts.schemas import ParallelPair

logger = logging.getLogger(__name__)

_ACTIVATIONS = "activations"


class TransformPair(dy.Schema):
    """A sampled pair and its side of the split."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    split = dy.Enum([FIT, HELD_OUT], nullable=False)


def build_transform(build: Build[TransformConfig]) -> RowCounts:
    """Fit and measure the matrix. The input `base`, the model before tuning, is for the picture of both.

    Raises:
        TransformFailed: no pair could be sampled, the activations are not finite or all zero, or a map that was asked
            for cannot be fitted or chosen.
        ConfigError: the checkpoint has no connection, or one that chooses no layer where `targets: chosen` asks which,
            or this machine cannot run `execution.attention`.
    """
    config, checkpoint = build.config, build.inputs["checkpoint"].path
    pairs = read_parquet(build.inputs["pairs"].path, ParallelPair)
    device = resolve_device(build.execution.device)
    model = CrossLingualModel.from_pretrained(checkpoint, attention=build.execution.attention).to(device)
    tokenizer = load_tokenizer(checkpoint)
    sample = draw_pairs(
        pairs.filter(pl.col("quality") >= config.min_quality),
        ChatPrompts(tokenizer),
        count=config.pairs,
        held_out_fraction=config.held_out_fraction,
        seed=config.seed,
        context_tokens=model.config.max_position_embeddings,
        with_responses=isinstance(config, ChoosingConfig),
    )
    _require_pairs(sample, pairs, config.min_quality)
    padding_id = tokenizer.pad_token_id
    assert isinstance(padding_id, int)
    with limited_threads(build.execution.threads):
        choices = Choices(model, sample.sides) if any(form.targets == "chosen" for form in _forms(config)) else None
        spool = _sampled(build, model, sample, padding_id)
        some = (sample.held_out or sample.fit)[:CANDIDATES]
        strength = connection_strength(model, some, build.execution.transform_batch_size, padding_id)
        embeddings = {"tuned": _embedding(build, model.base, sample, padding_id)}
        dtype, likelihoods = model.base.dtype, None
        if isinstance(config, ChoosingConfig):
            likelihoods = ResponseLikelihoods(model, sample.held_out, build.execution.transform_batch_size)
        del model  # a fit needs its memory; only likelihoods go on using it
        form, fitted, figures = _fitted(build, spool, sample, choices, likelihoods)
        del likelihoods
        figures |= strength
        if "base" in build.inputs:
            embeddings["base"] = _embedding(build, _base_model(build, dtype), sample, padding_id)
    spool.remove()
    torch.cuda.empty_cache()  # the next stage trains in another process on the same device
    write_transform_matrix(build.folder / TRANSFORM_MATRIX, fitted.transform, Origin.of(checkpoint))
    _write_diagnostics(build.folder, form, fitted, figures)
    _write_pairs(build.folder, sample)
    write_json(build.folder / EMBEDDING, embeddings)
    counts = write_quarantine(build.folder, [sample.quarantined])
    kept = len(sample.fit) + len(sample.held_out)
    not_selected = pairs.height - kept - sample.quarantined.height
    return RowCounts(read=pairs.height, kept=kept, quarantined=counts, not_selected=not_selected)


def _forms(config: TransformConfig) -> Sequence[MapConfig]:
    """The forms of the maps that are fitted."""
    return (config, *config.choose_among) if isinstance(config, ChoosingConfig) else (config,)


def _sampled(
    build: Build[TransformConfig], model: CrossLingualModel, sample: Sample, padding_id: int
) -> ActivationSpool:
    """The activations of both splits, on disk."""
    layers, hidden_size = model.read_activations, model.config.hidden_size
    spool = ActivationSpool(build.folder / _ACTIVATIONS, layers, hidden_size, model.device)
    total = len(sample.fit) + len(sample.held_out)
    with_pooled = any(form.features == "pooled" for form in _forms(build.config))
    for split, pairs in sample.sides.items():
        batches = sampled_activations(model, pairs, build.execution.transform_batch_size, padding_id, with_pooled)
        spool.fill(split, batches, total, build.progress)
    return spool


def _fitted(
    build: Build[TransformConfig],
    spool: ActivationSpool,
    sample: Sample,
    choices: Choices | None,
    likelihoods: ResponseLikelihoods | None,
) -> tuple[FitConfig, FittedTransform, dict[str, Any]]:
    """The form of the map, the map, and the figures of it and of the maps beside it."""
    config = build.config
    if isinstance(config, ChoosingConfig):
        assert likelihoods is not None
        return choose_map(spool, config, sample, choices, likelihoods)
    return config, *fit_and_measure(spool, config, sample, choices)


def _base_model(build: Build[TransformConfig], dtype: torch.dtype) -> PreTrainedModel:
    """The model before tuning, in the dtype of the tuned one."""
    base = build.inputs["base"]
    model = read_base_model(downloaded_model(base.name, base.revision), dtype, build.execution.attention)
    nn.Module.to(model, resolve_device(build.execution.device))
    return model


def _embedding(
    build: Build[TransformConfig], model: PreTrainedModel, sample: Sample, padding_id: int
) -> Mapping[str, Any]:
    pairs = embedded_pairs([*sample.fit, *sample.held_out])
    return embedding(model, pairs, build.execution.transform_batch_size, padding_id)


def _write_diagnostics(folder: Path, config: FitConfig, fitted: FittedTransform, figures: Mapping[str, Any]) -> None:
    hidden_size = len(fitted.english_mean)
    form: dict[str, Any] = {"features": config.features, "matrix": config.matrix, "intercept": config.intercept}
    form |= {"hidden_size": hidden_size, "ridge_choice": config.ridge if isinstance(config.ridge, str) else "fixed"}
    summary = fitted.summary()
    write_json(folder / DIAGNOSTICS, {**form, **summary, **figures})
    if config.features == "layer" and summary["rank"] < hidden_size:
        logger.warning(
            "the sampled rows%s have rank %d of %d: the matrix maps the other directions to 0. Sample more pairs",
            " of a layer" if config.matrix == "per_layer" else "", summary["rank"], hidden_size,
        )  # fmt: skip
    logger.info(
        "fitted on %d pairs (%d rows, rank %d of %d) | R² within language and layer %s fitted, %s held out (identity "
        "%s) | varying share of ‖F_en‖² %s",
        figures["pairs"], summary["rows"], summary["rank"], hidden_size,
        *map(_rounded, map(figures.get, ("within_r2", "held_out_within_r2", "held_out_within_identity_r2"))),
        _rounded(figures["varying_share"]),
    )  # fmt: skip


def _write_pairs(folder: Path, sample: Sample) -> None:
    splits = {pair.pair_id: FIT for pair in sample.fit} | {pair.pair_id: HELD_OUT for pair in sample.held_out}
    frame = pl.DataFrame({"pair_id": list(splits), "split": list(splits.values())}).sort("pair_id")
    write_parquet(frame, folder / TRANSFORM_PAIRS, TransformPair)


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
