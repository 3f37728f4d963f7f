"""The stage `report` at the size of the paper's whole experiment: seconds, peak memory of a fresh process, page size.

Eight runs are given answers and scores by rule: 5,801 items in each of ten languages, as the paper has of its six
benchmarks, with prompts as long as theirs. Nothing is trained; the artifacts keep the contracts that the stages before
the report write under.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.scoring import aggregate_scores
from cc_tuning.pipeline.runs import KNOWN_RUNS
from cc_tuning.report.config import ReportConfig, ReportedRun
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.report import build_report
from data_contracts.layout import ITEM_SCORES, PREDICTIONS, REPORT_PAGE, SCORES
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem, ItemScore, Prediction, Score

RESULTS = Path(__file__).parent / "results"
LANGUAGES = ("en", "ar", "de", "el", "es", "hi", "ru", "th", "tr", "zh")
ITEMS = {"XNLI": 1_000, "XStoryCloze": 1_511, "MMMLU": 1_000, "MKQA": 600, "XQuAD": 1_190, "XLSum": 500}
"""Of each language: 5,801, so 58,010 in ten."""
PROMPT_LETTERS = {"XNLI": 300, "XStoryCloze": 400, "MMMLU": 450, "MKQA": 120, "XQuAD": 950, "XLSum": 3_000}
ALPHABETS = {
    "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "el": "αβγδεζηθικλμνξοπρστυφχψω",
    "hi": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "ru": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "th": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศสหอฮ",
    "zh": "的一是在不了有和人这中大为上个国我以要他时来用们",
}
MODES = ("transform", "off", "parallel")
LAYERS = 32


def words_of(language: str, draw: random.Random) -> list[str]:
    """Made-up words in the script of a language."""
    letters = ALPHABETS.get(language, "abcdefghijklmnopqrstuvwxyz")
    return ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(2_000)]


def items_of(benchmark: str, size: float) -> pl.DataFrame:
    """BenchmarkItem rows; the same ids and clusters in every language."""
    spec, frames = BENCHMARKS[benchmark], []
    for language in LANGUAGES:
        draw = random.Random(f"{benchmark} {language}")
        words, number = words_of(language, draw), max(1, round(ITEMS[benchmark] * size))
        per_prompt = max(4, PROMPT_LETTERS[benchmark] // 6)
        answers = [[draw.choice(spec.options)] if spec.options else [draw.choice(words)] for _ in range(number)]
        frames.append(
            pl.DataFrame(
                {
                    "item_id": [f"{benchmark.lower()}-{at:05d}" for at in range(number)],
                    "prompt": [" ".join(draw.choices(words, k=per_prompt)) for _ in range(number)],
                    "answers": answers,
                    "cluster": [f"passage-{at // 5}" for at in range(number)],
                }
            ).with_columns(language=pl.lit(language))
        )
    items = pl.concat(frames)
    english = items.filter(language="en").select("item_id", prompt_en="prompt")
    return items.join(english, on="item_id", how="left", maintain_order="left").with_columns(
        benchmark=pl.lit(benchmark),
        choices_kind=pl.lit(spec.choices_kind),
        choices=pl.lit(None, pl.List(pl.String)),
        group=pl.lit(None, pl.String),
    )


def predictions_of(run: str, connection: str, items: pl.DataFrame, draw: np.random.Generator) -> pl.DataFrame:
    """Prediction rows: the gold answer and some words of the prompt."""
    said = pl.col("answers").list.first() + " " + pl.col("prompt").str.slice(0, 40)
    layers = pl.Series(draw.integers(LAYERS, size=items.height), dtype=pl.Int32)
    return items.select(
        "benchmark",
        "language",
        "item_id",
        run=pl.lit(run),
        connection=pl.lit(connection),
        response=said,
        prompt_tokens=pl.lit(200),
        new_tokens=pl.lit(12),
        stopped=pl.lit(True),
        selected_layer=layers if connection != "off" else pl.lit(None, pl.Int32),
    )


def scores_of(
    run: str, connection: str, items: pl.DataFrame, metrics: Sequence[str], draw: np.random.Generator
) -> Iterator[pl.DataFrame]:
    """ItemScore rows of one benchmark under each metric."""
    for metric in metrics:
        is_continuous = metric in ("gold_nll", "gold_bits_per_byte") or metric.startswith("rouge")
        values = draw.gamma(2.0, 1.2, items.height) if is_continuous else 100.0 * (draw.random(items.height) < 0.5)
        yield items.select(
            "benchmark",
            "language",
            "item_id",
            "group",
            "cluster",
            run=pl.lit(run),
            connection=pl.lit(connection),
            metric=pl.lit(metric),
            value=pl.Series(values),
        )


def metrics_of(benchmark: str, kinds: Sequence[str]) -> list[str]:
    """The metrics that answers of a benchmark get, of these kinds."""
    spec = BENCHMARKS[benchmark]
    metrics = [metric.name for metric in spec.metrics if metric.kind in kinds]
    metrics += ["gold_nll", "gold_bits_per_byte"] if "likelihood" in kinds else []
    metrics += ["in_language", "empty", "repeats_prompt", "cut"] if "behaviour" in kinds else []
    return list(dict.fromkeys(metrics))


def write_inputs(folder: Path, runs: Sequence[str], size: float, kinds: Sequence[str], are_all_connected: bool) -> int:
    """Write the items and every run's evaluation; the number of items."""
    items = {benchmark: items_of(benchmark, size) for benchmark in PAPER_BENCHMARKS}
    for benchmark, frame in items.items():
        write_parquet(frame, folder / "items" / f"{benchmark.lower()}.parquet", BenchmarkItem)
    for place, run in enumerate(runs):
        draw = np.random.default_rng(place)
        answered = [
            (connection, benchmark, frame)
            for connection in (MODES if are_all_connected or KNOWN_RUNS[run].connected else ("off",))
            for benchmark, frame in items.items()
        ]
        predictions = pl.concat([predictions_of(run, connection, frame, draw) for connection, _, frame in answered])
        scores = pl.concat(
            each
            for connection, benchmark, frame in answered
            for each in scores_of(run, connection, frame, metrics_of(benchmark, kinds), draw)
        )
        target = folder / run
        write_parquet(predictions, target / PREDICTIONS, Prediction)
        write_parquet(scores, target / ITEM_SCORES, ItemScore)
        write_parquet(aggregate_scores(scores, samples=200, confidence=0.95, seed=0), target / SCORES, Score)
    return sum(frame.height for frame in items.values())


def run_stage(folder: Path, runs: Sequence[str], samples: int) -> None:
    """The stage and nothing else, in this process; prints its figures."""
    specs = [KNOWN_RUNS[run] for run in runs]
    reported = tuple(
        ReportedRun(
            name=spec.name, label=spec.title, family=spec.name, baseline=spec.baseline if spec.baseline in runs else ""
        )
        for spec in specs
    )
    recipe = {"runs": [spec.model_dump(mode="json") for spec in specs]}
    config = ReportConfig(
        name="full size", runs=reported, base_model="made-up", bootstrap_samples=samples, recipe=recipe
    )
    inputs = {f"evaluate/{run}": Location(str(folder / run)) for run in runs}
    inputs["items"] = Location(str(folder / "items"))
    output = folder / "report"
    output.mkdir(exist_ok=True)
    before, started, used = _peak_mib(), time.perf_counter(), time.process_time()
    counts = build_report(Build(config, inputs, output, Execution(), no_progress))
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
    figures |= {"peak_mib": _peak_mib(), "peak_mib_before": before}
    figures |= {"item_scores": counts.kept, "page_bytes": (output / REPORT_PAGE).stat().st_size}
    figures |= {"all_bytes": sum(path.stat().st_size for path in output.rglob("*") if path.is_file())}
    print(json.dumps(figures))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    known = [run.name for run in KNOWN_RUNS.values() if run.is_trained and run.data != "preference"]
    options.add_argument("--runs", nargs="+", default=known, choices=list(KNOWN_RUNS), help="runs of the report")
    options.add_argument("--size", type=float, default=1.0, help="share of the paper's items")
    options.add_argument("--samples", type=int, default=10_000, help="resamples of the bootstrap")
    options.add_argument(
        "--kinds", nargs="+", default=["task", "likelihood", "behaviour"], help="kinds of metrics that items have"
    )
    options.add_argument("--all-connected", action="store_true", help="give every run the three modes")
    options.add_argument("--folder", type=Path, help="where inputs and report stay; unset, they are removed")
    options.add_argument("--output", type=Path, default=RESULTS / "report.json", help="JSON of the figures")
    options.add_argument("--stage-only", action="store_true", help="only run the stage on the inputs in --folder")
    arguments = options.parse_args()
    if arguments.stage_only:
        run_stage(arguments.folder, arguments.runs, arguments.samples)
        return

    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        items = write_inputs(folder, arguments.runs, arguments.size, arguments.kinds, arguments.all_connected)
        command = [sys.executable, __file__, "--stage-only", "--folder", str(folder)]
        command += ["--samples", str(arguments.samples)]
        done = subprocess.run([*command, "--runs", *arguments.runs], stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = {"items": items, **json.loads(done.stdout)}
    print(f"{'items':>10}{'item scores':>14}{'seconds':>10}{'CPU s':>8}{'peak MiB':>10}{'page MB':>10}{'all MB':>10}")
    print(
        f"{items:>10,}{figures['item_scores']:>14,}{figures['seconds']:>10,.1f}{figures['cpu_seconds']:>8,.1f}{figures['peak_mib']:>10,.0f}"
        f"{figures['page_bytes'] / 1e6:>10,.2f}{figures['all_bytes'] / 1e6:>10,.1f}"
    )
    settings = {name: str(value) for name, value in vars(arguments).items()}
    machine = {"cpu_count": os.cpu_count(), "processor": platform.machine(), "load_average": os.getloadavg()}
    content = {"title": "The stage report", "settings": settings, "machine": machine, "figures": figures}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
