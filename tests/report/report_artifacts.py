"""Small finished artifacts under the real contracts, as the stages before the report leave them.

Scores are drawn from a seeded generator; nothing is trained. Everything goes through the store, so manifests are real.
"""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.report.config import ReportedRun
from cc_tuning.runtime.step import Step
from data_contracts.artifact_files import file_records
from data_contracts.fingerprint import fingerprint
from data_contracts.manifest import Manifest, RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem, ItemScore, Prediction, Score
from data_contracts.store import ArtifactRef, ArtifactStore
from tests.artifacts import writing
from tests.report.data_artifacts import data_files, pair_rows
from tests.report.reported_runs import CONNECTED, runs_of

LAYERS = 4
METRICS = {"XLSum": ("rougeL", "rougeL_ascii")}
TEXTS = {
    "en": ("Which town lies on the river {n}?", "Harbour {n}"),
    "es": ("¿Qué ciudad está junto al río {n}?", "Puerto {n}"),
    "sw": ("Mji upi uko kando ya mto {n}?", "Bandari {n}"),
    "hi": ("नदी {n} के किनारे कौन सा शहर है?", "बंदरगाह {n}"),
    "zh": ("{n}号河边是哪座城市？", "港口{n}"),
    "ar": ("أي مدينة تقع على النهر {n}؟", "ميناء {n}"),
}


@dataclass(frozen=True)
class World:
    """What the made-up artifacts are about."""

    runs: Sequence[ReportedRun] = runs_of("ml-sft", "cc-tuning")
    benchmarks: Sequence[str] = ("XNLI", "MKQA", "XLSum")
    languages: Sequence[str] = ("en", "es", "ar")
    items: int = 6
    grouped: bool = True
    steps: int = 12
    responses: Mapping[str, str] = field(default_factory=dict)
    """Replaces the response of every item of a benchmark."""
    seed: int = 0
    transform: Mapping[str, Any] = field(default_factory=dict)
    """Replaces figures of the transform stage."""
    lacks_english: Sequence[str] = ()
    """Items (by id) without an English prompt: no answer with the connection `parallel`."""
    not_tuned: Sequence[str] = ("base",)
    """Families that are evaluated only."""
    own_pairs: Sequence[str] = ()
    """Runs whose pairs were chosen and translated for them alone."""
    draws: Mapping[str, str] = field(default_factory=dict)
    """By the name of a run, the name whose made-up scores it has; its own where it is not named."""
    shares: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By name and benchmark, the share of items that are right; half of them where it is not named."""
    likelihoods: bool = False
    """Whether items have the likelihood of their gold answer."""
    controls: Sequence[str] = ()
    """Connections of connected runs that only have likelihoods."""


def made_world(store: ArtifactStore, world: World) -> dict[str, ArtifactRef]:
    """All inputs of a report, by the names of the plan."""
    selected = RowCounts(read=100, kept=90, quarantined={"blank": 4}, not_selected=6)
    translated = RowCounts(read=90, kept=88, quarantined={"too_long": 2})
    pairs = pair_rows()
    refs = {
        "select": _made(store, "select", "", data_files("select", pairs), selected),
        "translate": _made(store, "translate", "", data_files("translate", pairs), translated),
        "items": _made(store, "world", "", _items_files(world), RowCounts(read=1, kept=1)).at("benchmarks"),
    }
    for run in world.runs:
        name, kept = run.name, RowCounts(read=88, kept=88)
        if run.family not in world.not_tuned:
            setting = "mt" if run.family.endswith("+mt") else "plain"
            rows = data_files("materialize", pairs)
            refs[f"materialize/{name}"] = _made(store, "materialize", setting, rows, kept, {"setting": setting})
            refs[f"train/{name}"] = _made(store, "train", name, _training_files(run, world), kept)
        if name in world.own_pairs:
            own = _made(store, "translate", name, data_files("translate", pairs), translated)
            refs[f"translate/{name}"] = own
        if run.family in CONNECTED:
            counts = RowCounts(read=88, kept=40, not_selected=48)
            refs[f"transform/{name}"] = _made(
                store, "transform", name, {"diagnostics.json": diagnostics() | world.transform}, counts
            )
        scored = len(world.benchmarks) * len(world.languages) * world.items
        refs[f"evaluate/{name}"] = _made(
            store, "evaluate", name, _evaluation_files(run, world), RowCounts(read=scored, kept=scored)
        )
    return refs


def item_rows(world: World) -> pl.DataFrame:
    """BenchmarkItem rows of a world."""
    rows = []
    for benchmark in world.benchmarks:
        for language in world.languages:
            prompt, answer = TEXTS[language]
            for n in range(world.items):
                item_id = f"{benchmark.lower()}-{n:04d}"
                group = ("met in English only", "met in the language")[n % 2] if world.grouped else None
                rows.append(
                    {
                        "benchmark": benchmark,
                        "language": language,
                        "item_id": item_id,
                        "prompt": prompt.format(n=n),
                        "prompt_en": None if item_id in world.lacks_english else TEXTS["en"][0].format(n=n),
                        "answers": [answer.format(n=n)],
                        "choices_kind": "answer_aliases",
                        "choices": None,
                        "group": group,
                        "cluster": None,
                    }
                )
    return pl.DataFrame(
        rows, schema_overrides={"choices": pl.List(pl.String), "group": pl.String, "cluster": pl.String}
    )


def score_rows(run: ReportedRun, world: World) -> pl.DataFrame:
    """ItemScore rows: every item under every metric and connection, drawn from the seed, run and item."""
    rows, drawn = [], world.draws.get(run.name, run.name)
    controls = world.controls if run.family in CONNECTED else ()
    for connection in (*_connections(run), *controls):
        for item in _answered(connection, world):
            lot = random.Random(f"{world.seed} {drawn} {connection} {item['language']} {item['item_id']}")
            share = world.shares.get((drawn, item["benchmark"]), 0.5)
            metrics = () if connection in controls else METRICS.get(item["benchmark"], ("accuracy",))
            for metric in (*metrics, *(("gold_nll",) if world.likelihoods else ())):
                value = round(lot.uniform(0, 100), 3) if metric != "accuracy" else 100.0 * (lot.random() < share)
                value = value / 20 if metric == "gold_nll" else value
                key = {name: item[name] for name in ("benchmark", "language", "item_id", "group", "cluster")}
                rows.append({"run": run.name, "connection": connection, "metric": metric, "value": value, **key})
    return pl.DataFrame(rows, schema_overrides={"group": pl.String, "cluster": pl.String})


def mean_rows(item_scores: pl.DataFrame) -> pl.DataFrame:
    """Score rows: mean over items per language, mean over languages as `avg`; intervals are a fixed margin here."""
    keys = ["run", "connection", "benchmark", "metric"]
    # In one order, or sums would differ in their last bits from call to call.
    by_language = (
        item_scores.group_by(*keys, "language", maintain_order=True)
        .agg(items=pl.len().cast(pl.Int64), value=pl.col("value").mean())
        .sort(*keys, "language")
    )
    average = by_language.group_by(keys, maintain_order=True).agg(
        pl.col("items").sum(), pl.col("value").mean(), language=pl.lit("avg")
    )
    frame = pl.concat([by_language, average.select(by_language.columns)]).sort(*keys, "language")
    low, high = (pl.col("value") - 5).clip(0, 100), (pl.col("value") + 5).clip(0, 100)
    return frame.with_columns(ci_low=low, ci_high=high)


def prediction_rows(run: ReportedRun, world: World) -> pl.DataFrame:
    """Prediction rows; connected answers name a layer."""
    rows = []
    for connection in _connections(run):
        for n, item in enumerate(_answered(connection, world)):
            response = world.responses.get(item["benchmark"], f"{item['answers'][0]} ({run.name}, {connection})")
            key = {name: item[name] for name in ("benchmark", "language", "item_id")}
            layer = None if connection == "off" else n % 3
            numbers = {"prompt_tokens": 20, "new_tokens": 7, "stopped": True, "selected_layer": layer}
            rows.append({"run": run.name, "connection": connection, "response": response, **key, **numbers})
    return pl.DataFrame(rows, schema_overrides={"selected_layer": pl.Int32})


def diagnostics() -> dict[str, Any]:
    """What the stage `transform` writes, with made-up figures."""
    figures: dict[str, Any] = {
        "features": "layer", "matrix": "shared", "intercept": False, "ridge_choice": "fixed", "rows": 144,
        "hidden_size": 64, "rank": 64,
        "ridge": 3.5e-5, "relative_ridge": 1e-6, "solver": "cholesky", "condition_number": 81234.5, "pairs": 36,
        "held_out_pairs": 4,
    }  # fmt: skip
    for prefix, scale in (("", 1.0), ("held_out_", 1.4)):
        for owner, error, r2 in (("", 0.012, 0.81), ("identity_", 0.05, 0.2), ("mean_", 0.0625, -0.001)):
            figures[f"{prefix}{owner}mse"] = error * scale
            figures[f"{prefix}{owner}r2"] = r2 / scale
            figures[f"{prefix}layer_{owner}mse"] = [error * scale * (1 + layer / 3) for layer in range(LAYERS)]
            figures[f"{prefix}layer_{owner}r2"] = [r2 / scale] * LAYERS
        figures[f"{prefix}variance"] = 0.0625
        figures[f"{prefix}layer_variance"] = [0.0625] * LAYERS
        figures |= {f"{prefix}within_pairs": figures[f"{prefix}pairs"], f"{prefix}within_pairs_left_out": 0}
        for owner, r2 in (("", 0.12), ("identity_", -1.5)):
            figures[f"{prefix}within_{owner}r2"] = r2 / scale
            figures[f"{prefix}layer_within_{owner}r2"] = [r2 / scale] * LAYERS
    figures |= {"constant_r2": 0.97, "held_out_constant_r2": 0.95, "parameters": 4096, "multiplications": 4096}
    figures |= {"held_out_candidates": 4, "held_out_cosine": 0.31, "held_out_found": 0.25}
    figures |= {"held_out_identity_cosine": 0.12, "held_out_identity_found": 0.5}
    figures |= {"v_norm": 5.0, "v_varying_norm": 0.5, "f1_norm": 10.0, "residual_norm": 50.0}
    figures |= {"varying_share": 0.04, "layer_varying_share": [0.01, 0.02, 0.05, 0.08]}
    figures["within_languages"] = {"swh": {"pairs": 36, "held_out_pairs": 4, "held_out_within_r2": 0.12 / 1.4}}
    return figures


def metric_lines(run: ReportedRun, steps: int) -> str:
    """The training log as JSON Lines."""
    lot, lines = random.Random(run.name), []
    for step in range(1, steps + 1):
        line: dict[str, Any] = {"step": step, "loss": 3.2 * math.exp(-step / steps) + lot.uniform(-0.1, 0.1)}
        line |= {"learning_rate": 1e-5, "tokens_per_second": 4000.0}
        if run.family in CONNECTED:
            line["selection_entropy"] = math.log(LAYERS) * (1 - 0.4 * step / steps)
            line["selection_cosine"] = 0.1 + 0.5 * step / steps
            line["selection_counts"] = [2, 3 + step // 4, 4, 1]
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def _answered(connection: str, world: World) -> list[dict[str, Any]]:
    return [item for item in item_rows(world).to_dicts() if connection != "parallel" or item["prompt_en"]]


def _items_files(world: World) -> dict[str, Any]:
    rows = item_rows(world)
    return {
        f"benchmarks/{name.lower()}.parquet": (rows.filter(pl.col("benchmark") == name), BenchmarkItem)
        for name in world.benchmarks
    }


def _training_files(run: ReportedRun, world: World) -> dict[str, Any]:
    return {"metrics.jsonl": metric_lines(run, world.steps)}


def _evaluation_files(run: ReportedRun, world: World) -> dict[str, Any]:
    scores = score_rows(run, world)
    return {
        "item_scores.parquet": (scores, ItemScore),
        "scores.parquet": (mean_rows(scores), Score),
        "predictions.parquet": (prediction_rows(run, world), Prediction),
    }


def _connections(run: ReportedRun) -> tuple[str, ...]:
    return ("transform", "off", "parallel") if run.family in CONNECTED else ("off",)


def _made(
    store: ArtifactStore,
    stage: str,
    run: str,
    files: Mapping[str, Any],
    rows: RowCounts,
    config: Mapping[str, Any] | None = None,
) -> ArtifactRef:
    """A finished artifact of its own for each run."""
    of_run = hashlib.sha256(run.encode()).hexdigest()
    ref = ArtifactRef(stage, fingerprint(stage, 1, config or {}, {"run": f"sha256:{of_run}"}))
    if not store.folder(ref).is_dir():  # runs with the same training data share it
        finish(store, ref, f"{stage} {run}".strip(), files, rows, config, {"run": {"sha256": of_run}})
    return ref


def finish(
    store: ArtifactStore,
    ref: ArtifactRef,
    label: str,
    files: Mapping[str, Any],
    rows: RowCounts,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, dict[str, str]] | None = None,
) -> None:
    """Put an artifact into the store."""
    folder = store.open_partial(ref, {}, keep=False)
    for name, content in files.items():
        path = folder / name
        write_file(path, content)
    store.finish(
        ref,
        Manifest(
            stage=ref.stage, version=1, fingerprint=ref.fingerprint, label=label, config=dict(config or {}),
            inputs=dict(inputs or {}), files=file_records(folder), rows=rows, commit="0123456789abcdef",
            versions={"torch": "2.13.0"}, seconds=12.5, peak_memory_bytes=300 << 20,
            finished_at="2026-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip


def of_made_pairs(step: Step) -> Step:
    """The step, but that `select` and `translate` write `pair_rows()`, and the embedded default nothing."""
    files = data_files(step.stage.name, pair_rows()) if step.stage.name in ("select", "translate") else {}

    def write(folder: Path) -> None:
        for name, content in files.items():
            write_file(folder / name, content)

    return writing(step, write, rows=20)


def write_file(path: Path, content: Any) -> None:
    """Text, JSON of a dict, or the rows of a frame under its contract."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match content:
        case str():
            path.write_text(content, encoding="utf-8")
        case dict():
            path.write_text(json.dumps(content), encoding="utf-8")
        case (frame, contract):
            write_parquet(frame, path, contract)
