"""Seconds of the translate stage for growing numbers of real rows, in a fresh process each: is it linear in them?

All of the stage is timed: loading the model, planning, decoding, quality checks, putting rows together, the pairs. The
rows of a smaller number are the first of a larger one in one shuffled order, so every number has the same mix of
languages and lengths. Batches are made within a shard, so few rows in many languages make small batches, and a token
costs more than later, when shards are full. The model is of NLLB's architecture with random weights and never ends a
sentence: a segment is decoded to as many tokens as it has, and 16 more.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import torch
from timing import RESULTS
from transformers.utils.logging import disable_progress_bar
from translation import build_model

from cc_tuning.miniature.tokenizers import train_nllb_tokenizer
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.jobs import SHARDS
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.provenance import peak_memory_bytes
from cc_tuning.runtime.sources import LocalSource, Location
from cc_tuning.runtime.stage_table import SELECT, TRANSLATE
from cc_tuning.runtime.step import run_step
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.text.languages import ENGLISH_FLORES_CODE, by_flores_code, find_language
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.memory import sources_of
from cc_tuning.translation.model_files import load_family
from data_contracts.shards import Shards
from data_contracts.store import ArtifactStore

VOCABULARY = 30_000
CONFIG = TranslationConfig(beams=1, retry=False, max_length_ratio=1.0, max_new_tokens=300)
"""Greedy, and no second decoding: of random answers nearly every one looks wrong."""


@dataclass(frozen=True)
class Measured:
    """One run of the stage."""

    rows: int
    kept: int
    segments: int
    """Different ones; each is decoded once."""
    tokens: int
    """Source tokens of those."""
    seconds: float
    cpu_seconds: float
    peak_mib: float


def read_rows(path: Path) -> pl.DataFrame:
    """Rows of a file with Aya's columns; of one with sentences (flores_code, text), a row per sentence."""
    found = pl.read_parquet(path)
    if "inputs" not in found.columns:
        languages = [by_flores_code(code) for code in found["flores_code"]]
        # The response holds no letter, so that the sentence is all there is to decode.
        found = found.select(
            pl.col("text").alias("inputs"),
            pl.lit("1.").alias("targets"),
            pl.Series("language", [language.name for language in languages]),
            pl.Series("language_code", [language.aya_code for language in languages]),
        )
    return found.select("inputs", "targets", "language", "language_code")


def foreign_rows(paths: list[Path], most: int) -> pl.DataFrame:
    """Different rows that are not English: file after file until there are `most`, then shuffled."""
    rows = pl.concat([read_rows(path) for path in paths]).unique(maintain_order=True)
    columns = rows.select("language_code", "language", "inputs").iter_rows()
    is_foreign = [find_language(*column).flores_code != ENGLISH_FLORES_CODE for column in columns]
    rows = rows.filter(pl.Series(is_foreign)).head(most)
    if rows.height < most:
        sys.exit(f"{', '.join(map(str, paths))} hold {rows.height} different rows that are not English, not {most}")
    order = list(range(most))
    random.Random(0).shuffle(order)
    return rows[order]


def save_translator(folder: Path, rows: pl.DataFrame, width: int, layers: int) -> int:
    """A model directory; its number of parameters."""
    tokenizer = train_nllb_tokenizer([*rows["inputs"], *rows["targets"]], VOCABULARY)
    model = build_model(tokenizer, "cpu", width, layers)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def translate(source: Path, model: Path, execution: Execution) -> Measured:
    """What the fresh process does."""
    disable_progress_bar()
    rows, store = LocalSource.of(source), ArtifactStore(execution.store)
    select = SELECT.step(SelectionConfig(decontamination="none"), source=rows)
    run_step(select, store, execution, no_progress)
    step = TRANSLATE.step(CONFIG, rows=select.ref, translator=LocalSource.of(model))
    wall, cpu = time.perf_counter(), time.process_time()
    counts = run_step(step, store, execution, no_progress).manifest.rows
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    peak_mib = peak_memory_bytes() / 2**20
    shards = Shards(store.folder(step.ref) / SHARDS)
    names = [path.relative_to(shards.folder).as_posix() for path in shards.folder.glob("*/*.segments.parquet")]
    segments = [segment for name in names for segment in sources_of(shards, name)]
    tokens = sum(load_family(Location(str(model))).count_tokens(segments))
    return Measured(counts.read, counts.kept, len(segments), tokens, seconds, cpu_seconds, peak_mib)


def measure(rows: pl.DataFrame, model: Path, execution: Execution) -> Measured:
    """The figures of `translate` for `rows`."""
    with tempfile.TemporaryDirectory() as temporary:
        rows.write_parquet(Path(temporary, "rows.parquet"))
        places = execution.model_copy(update={"store": Path(temporary, "store")})
        command = [sys.executable, __file__, "--one", temporary, str(model), places.model_dump_json()]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Measured(**json.loads(answer))


HEAD = (
    f"{'rows':>8}{'segments':>10}{'tokens':>10}{'seconds':>9}{'CPU s':>9}{'ms/row':>8}{'tokens/s':>10}"
    f"{'s/token':>9}{'CPU s/token':>13}{'peak MiB':>10}"
)


def line_of(first: Measured, one: Measured) -> str:
    """A line of the table; the seconds per token are in those of `first`."""
    wall_ratio = one.seconds / one.tokens / (first.seconds / first.tokens)
    cpu_ratio = one.cpu_seconds / one.tokens / (first.cpu_seconds / first.tokens)
    return (
        f"{one.rows:>8,}{one.segments:>10,}{one.tokens:>10,}{one.seconds:>9.1f}{one.cpu_seconds:>9.1f}"
        f"{1000 * one.seconds / one.rows:>8.1f}{one.tokens / one.seconds:>10,.0f}"
        f"{wall_ratio:>9.3f}{cpu_ratio:>13.3f}{one.peak_mib:>10,.0f}"
    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        folder, model, execution = sys.argv[2:]
        places = Execution.model_validate_json(execution)
        print(json.dumps(asdict(translate(Path(folder, "rows.parquet"), Path(model), places))))
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("sources", type=Path, nargs="+", help="parquet files: Aya's columns, or flores_code and text")
    options.add_argument("--rows", type=int, nargs="+", default=[500, 1_000, 2_000, 4_000, 8_000])
    options.add_argument("--width", type=int, default=512, help="of the model; 512 and 6 layers: 60M parameters")
    options.add_argument("--layers", type=int, default=6, help="of encoder and decoder each")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of torch")
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options.add_argument("--output", type=Path, default=RESULTS / "translation_scaling.json", help="JSON file")
    arguments = options.parse_args()

    rows = foreign_rows(arguments.sources, max(arguments.rows))
    execution = Execution(threads=arguments.threads, device=arguments.device, quarantine_limit=1.0)
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary)
        print(f"{save_translator(model, rows, arguments.width, arguments.layers):,} parameters\n{HEAD}")
        for number in sorted(arguments.rows):
            measured.append(measure(rows.head(number), model, execution))
            print(line_of(measured[0], measured[-1]), flush=True)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    machine = {"cpu_count": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__}
    machine |= {"load_average": os.getloadavg()}
    content = {"settings": settings, "machine": machine, "by_rows": [asdict(one) for one in measured]}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
