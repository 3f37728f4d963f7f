"""The stage `materialize` on many synthetic pairs: seconds, and the peak memory of a fresh process.

Every text has the same number of characters, drawn from a seeded list of words; the tokenizer is learnt from that list.
Nothing but the number of pairs differs between two calls, so memory that grows with rows shows.
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
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.materialize import build_training_rows
from cc_tuning.training.rows.config import MaterializationConfig
from data_contracts.layout import TRAINING_ROWS
from data_contracts.parquet_stream import written_in_batches
from data_contracts.schemas import ParallelPair

RESULTS = Path(__file__).parent / "results"
WRITTEN_ROWS = 10_000
TEXTS = ("inputs", "targets", "inputs_en", "targets_en")


def draw_words(draw: random.Random, number: int) -> list[str]:
    """Made-up words of two to five syllables."""
    syllables = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]
    return ["".join(draw.choices(syllables, k=draw.randint(2, 5))) for _ in range(number)]


def save_tokenizer(words: list[str], folder: Path) -> None:
    """A byte-level BPE tokenizer learnt from `words`, with the control tokens of Llama 3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2_000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(words)], trainer)
    tokenizer.add_special_tokens(
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    ).save_pretrained(folder)


def draw_pairs(draw: random.Random, words: list[str], pairs: int, characters: int) -> Iterator[pl.DataFrame]:
    """ParallelPair rows, `WRITTEN_ROWS` at a time; each of the four texts has `characters` characters."""
    text = " ".join(draw.choices(words, k=200_000))
    for first in range(0, pairs, WRITTEN_ROWS):
        ids = [f"{index:032x}" for index in range(first, min(first + WRITTEN_ROWS, pairs))]
        texts = {name: [_cut(text, draw, characters) for _ in ids] for name in TEXTS}
        yield pl.DataFrame({"pair_id": ids, **texts}).with_columns(
            language=pl.lit("Swahili"),
            language_code=pl.lit("swh"),
            flores_code=pl.lit("swh_Latn"),
            origin=pl.lit("translated"),
            quality=pl.lit(1.0),
            flags=pl.lit([], dtype=pl.List(pl.String)),
        )


def _cut(text: str, draw: random.Random, characters: int) -> str:
    at = draw.randrange(len(text) - characters)
    return text[at : at + characters]


def measured(folder: Path, setting: str) -> dict[str, float]:
    """Seconds and peak MiB of the stage in a process of its own."""
    command = [sys.executable, __file__, "--stage-folder", str(folder), "--setting", setting]
    figures: dict[str, float] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return figures


def run_stage(folder: Path, setting: str) -> None:
    """What `measured` runs: the stage and nothing else; prints its figures."""
    config = MaterializationConfig.model_validate({"chat_template": "llama3", "setting": setting})
    inputs = {name: Location(str(folder / name)) for name in ("pairs", "tokenizer")}
    (folder / "rows").mkdir()
    before, started = _peak_mib(), time.perf_counter()
    counts = build_training_rows(Build(config, inputs, folder / "rows", Execution(), no_progress))
    figures = {"seconds": time.perf_counter() - started, "peak_mib": _peak_mib(), "peak_mib_before": before}
    figures |= {"rows": counts.kept, "file_mib": folder / "rows" / TRAINING_ROWS.stat().st_size / (1 << 20)}
    print(json.dumps(figures))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000], help="numbers of pairs to measure")
    options.add_argument("--characters", type=int, default=300, help="characters of each text of a pair")
    options.add_argument("--setting", default="plain", choices=["plain", "en", "mt"], help="which rows are made")
    options.add_argument("--output", type=Path, default=RESULTS / "materialization.json", help="JSON of the figures")
    options.add_argument("--stage-folder", type=Path, help="only run the stage on the inputs in this folder")
    arguments = options.parse_args()
    if arguments.stage_folder:
        run_stage(arguments.stage_folder, arguments.setting)
        return

    draw, figures = random.Random(0), {}
    words = draw_words(draw, 3_000)
    print(f"{'pairs':>12}{'rows':>12}{'seconds':>10}{'peak MiB':>10}{'before':>8}{'file MiB':>10}")
    for pairs in arguments.pairs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_tokenizer(words, folder / "tokenizer")
            with written_in_batches(folder / "pairs" / "pairs.parquet", ParallelPair) as stream:
                for batch in draw_pairs(draw, words, pairs, arguments.characters):
                    stream.write(batch)
            result = figures[pairs] = measured(folder, arguments.setting)
        print(
            f"{pairs:>12,}{result['rows']:>12,}{result['seconds']:>10,.1f}{result['peak_mib']:>10,.0f}"
            f"{result['peak_mib_before']:>8,.0f}{result['file_mib']:>10,.0f}"
        )
    settings = {name: str(value) for name, value in vars(arguments).items()}
    machine = {"cpu_count": os.cpu_count(), "processor": platform.machine(), "load_average": os.getloadavg()}
    content = {"title": "The stage materialize", "settings": settings, "machine": machine, "figures": figures}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
