"""Seconds and peak memory of the select stage, in a fresh process for each number of synthetic rows.

The rows hold about 300 characters of made-up words in five languages. They are compared with synthetic items, so the
n-grams of the default recipe are part of the figures.
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
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.provenance import peak_memory_bytes
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT
from cc_tuning.runtime.step import run_step
from cc_tuning.selection.config import SelectionConfig
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem
from data_contracts.store import ArtifactStore

RESULTS = Path(__file__).parent / "results"
LETTERS = {
    "eng": "etaoinshrdlu",
    "spa": "eaosrnidlñá",
    "rus": "оеаинтсрвлк",
    "hin": "कारनसमतहलप",
    "zho": "的一是不了人我在有他",
}
PROMPT_CHARACTERS, RESPONSE_CHARACTERS = 120, 180
ROW_GROUP_ROWS = 10_000
TEXT_CHARACTERS = 1_000_000  # per language; every row takes two pieces


def words(letters: str, characters: int, draw: random.Random) -> str:
    """Made-up words of 1 to 8 letters, `characters` long together."""
    text = "".join(draw.choices(letters, k=characters))
    cuts, place = [], 0
    while place < characters:
        length = draw.randint(1, 8)
        cuts.append(text[place : place + length])
        place += length + 1
    return " ".join(cuts)


def piece(text: str, characters: int, draw: random.Random) -> str:
    """Some of `text`."""
    first = draw.randrange(len(text) - characters)
    return text[first : first + characters]


def write_rows(path: Path, rows: int) -> None:
    """A parquet file in Aya's schema."""
    draw = random.Random(0)
    texts = {code: words(letters, TEXT_CHARACTERS, draw) for code, letters in LETTERS.items()}
    schema = pa.schema([(name, pa.string()) for name in ("inputs", "targets", "language_code", "annotation_type")])
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        for first in range(0, rows, ROW_GROUP_ROWS):
            codes = draw.choices(list(LETTERS), k=min(ROW_GROUP_ROWS, rows - first))
            columns = {
                "inputs": [piece(texts[code], PROMPT_CHARACTERS, draw) for code in codes],
                "targets": [piece(texts[code], RESPONSE_CHARACTERS, draw) for code in codes],
                "language_code": codes,
                "annotation_type": ["original-annotations"] * len(codes),
            }
            writer.write_table(pa.table(columns, schema))


def write_items(folder: Path, items: int) -> None:
    """A benchmark of `items` prompts of 600 characters."""
    draw = random.Random(1)
    rows = [
        {"benchmark": "XQuAD", "language": "en", "item_id": f"xquad-{number:06d}", "prompt_en": None,
         "prompt": words(LETTERS["eng"], 600, draw), "answers": ["x"], "choices_kind": "context_span", "choices": None,
         "group": None, "cluster": None}
        for number in range(items)
    ]  # fmt: skip
    write_parquet(
        pl.DataFrame(rows, schema_overrides={"choices": pl.List(pl.String), "group": pl.String, "cluster": pl.String}),
        folder / "xquad.parquet",
        BenchmarkItem,
    )


def select(folder: Path) -> None:
    """What the fresh process does."""
    source, items = LocalSource.of(folder / "rows.parquet"), LocalSource.of(folder / "items")
    step = SELECT.step(SelectionConfig(), source=source, items=items)
    started = time.perf_counter()
    outcome = run_step(step, ArtifactStore(folder / "store"), Execution(), no_progress)
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mib": peak_memory_bytes() / 2**20}
    print(json.dumps(figures | {"kept": outcome.manifest.rows.kept}))


def measure(rows: int, items: int) -> dict[str, float]:
    """The figures of `select` for a temporary source."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder / "rows.parquet", rows)
        write_items(folder / "items", items)
        command = [sys.executable, __file__, "--select-in", temporary]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(answer)
    return figures


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    options.add_argument("--items", type=int, default=10_000, help="benchmark items to compare with")
    options.add_argument("--output", type=Path, default=RESULTS / "selection.json", help="JSON file with the figures")
    options.add_argument("--select-in", type=Path, help="only select from the source in this folder")
    arguments = options.parse_args()
    if arguments.select_in:
        select(arguments.select_in)
        return
    print(f"{'rows':>12}{'seconds':>10}{'CPU s':>9}{'peak MiB':>10}")
    measured = {}
    for rows in arguments.rows:
        measured[rows] = figures = measure(rows, arguments.items)
        print(f"{rows:>12,}{figures['seconds']:>10.1f}{figures['cpu_seconds']:>9.1f}{figures['peak_mib']:>10,.0f}")
    machine = {"cpu_count": os.cpu_count(), "processor": platform.machine(), "load_average": os.getloadavg()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"items": arguments.items, "machine": machine, "by_rows": measured}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
