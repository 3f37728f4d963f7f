"""How much of what a training step computes is padding, for real rows: the cuts of the training stage, no model.

`python benchmarks/padding.py ROWS.parquet [--vocabulary 32000]`. ROWS is a file of training rows (`input_ids`,
`english_input_ids`), or texts (`inputs`, `targets`, and `inputs_en` where there are English parallels; without them a
row stands for its own): a tokenizer is then trained on the texts themselves, which makes rows shorter than a model's
own tokenizer would.

padding: share of the padded tokens of training sequences. English: the same of the English prompts, which have a
forward pass only. lost: share of a step's work that is padding of either, or ranks that wait for the slowest; a token
of the English pass counts a third. `one cut` is the step cut for its rows per device alone.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from cc_tuning.miniature.tokenizers import train_tokenizer
from cc_tuning.runtime.execution import Execution
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.training.sampler import ENGLISH_TOKEN_COST, BatchShape, LengthGroupedBatches

CUTOFF_TOKENS = 1024
DEFAULTS = Execution()
SHAPES = {
    "128 rows, 1 device, 16 each": BatchShape(128, 16, DEFAULTS.device_batch_tokens, DEFAULTS.max_padding, 1),
    "128 rows, 8 devices, 16 each": BatchShape(128, 16, DEFAULTS.device_batch_tokens, DEFAULTS.max_padding, 8),
    "32 rows, 1 device, 8 each": BatchShape(32, 8, DEFAULTS.device_batch_tokens, DEFAULTS.max_padding, 1),
}


@dataclass(frozen=True)
class Padding:
    """Means over the steps of an epoch."""

    padding: float
    english_padding: float
    lost: float
    micro_batches: float  # of a rank in a step
    largest_tokens: int  # padded, in any micro-batch
    repeated_english: float  # share of the English tokens that an earlier row of the same micro-batch has too
    milliseconds: float  # of cutting a step


def read_lengths(path: Path, vocabulary: int) -> tuple[list[int], list[int], list[bytes]]:
    """Tokens of each row and of its English prompt, and that prompt's ids as bytes."""
    rows = pl.read_parquet(path)
    if "input_ids" in rows.columns:
        ids, english = rows["input_ids"].to_list(), rows["english_input_ids"].to_list()
    else:
        texts = [rows["inputs"], rows["targets"], rows["inputs_en" if "inputs_en" in rows.columns else "inputs"]]
        prompts = ChatPrompts(train_tokenizer((text for column in texts for text in column), vocabulary, 4096))
        examples = prompts.encode_examples(texts[0].to_list(), texts[1].to_list())
        ids, english = [example.input_ids for example in examples], prompts.encode_prompts(texts[2].to_list())
    fits = [len(prompt) <= CUTOFF_TOKENS for prompt in english]
    lengths = [min(len(row), CUTOFF_TOKENS) for row, kept in zip(ids, fits, strict=True) if kept]
    kept_english = [prompt for prompt, kept in zip(english, fits, strict=True) if kept]
    return lengths, [len(prompt) for prompt in kept_english], [np.array(p, np.int32).tobytes() for p in kept_english]


def measure(lengths: list[int], english_lengths: list[int], english: list[bytes], shape: BatchShape) -> Padding:
    """One epoch of the rows in steps of `shape`."""
    ids = [str(index) for index in range(len(lengths))]
    of, of_english = np.array(lengths), np.array(english_lengths)
    started = time.process_time()
    ranks = [
        list(LengthGroupedBatches(ids, of[:, None], of_english, shape, seed=0, rank=rank))
        for rank in range(shape.ranks)
    ]
    seconds = (time.process_time() - started) / shape.ranks
    padded = english_padded = slowest = repeated = largest = 0.0
    for step in zip(*ranks, strict=True):
        work = []
        for rank in step:
            batches = [batch.rows for batch in rank.micro_batches]
            tokens = [len(batch) * int(of[batch].max()) for batch in batches]
            english_tokens = [len(batch) * int(of_english[batch].max()) for batch in batches]
            work.append(sum(tokens) + ENGLISH_TOKEN_COST * sum(english_tokens))
            padded, english_padded = padded + sum(tokens), english_padded + sum(english_tokens)
            largest = max(largest, *tokens)
            for batch in batches:
                distinct = {english[row]: int(of_english[row]) for row in batch}
                repeated += int(of_english[batch].sum()) - sum(distinct.values())
        slowest += max(work) * shape.ranks
    real = of.sum() + ENGLISH_TOKEN_COST * of_english.sum()
    steps = len(ranks[0])
    return Padding(
        padding=1 - float(of.sum()) / padded,
        english_padding=1 - float(of_english.sum()) / english_padded,
        lost=1 - float(real) / slowest,
        micro_batches=sum(len(step.micro_batches) for step in ranks[0]) / steps,
        largest_tokens=int(largest),
        repeated_english=repeated / float(of_english.sum()),
        milliseconds=1000 * seconds / steps,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", type=Path, help="parquet file of training rows, or of texts")
    options.add_argument("--vocabulary", type=int, default=32000, help="entries of the tokenizer made for texts")
    options.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "padding.json")
    arguments = options.parse_args()
    lengths, english_lengths, english = read_lengths(arguments.rows, arguments.vocabulary)
    quartiles = np.percentile(lengths, [5, 25, 50, 75, 95]).astype(int).tolist()
    print(f"{len(lengths)} rows of {arguments.rows}; tokens at 5, 25, 50, 75, 95 %: {quartiles}")
    print(
        f"{'':<42}{'padding':>9}{'English':>9}{'lost':>8}{'micro-b.':>10}{'largest':>9}{'repeated':>10}{'ms/step':>9}"
    )
    results = {}
    for name, shape in SHAPES.items():
        for label, tried in (("one cut", replace(shape, max_padding=1.0)), ("as trained", shape)):
            found = measure(lengths, english_lengths, english, tried)
            results[f"{name}, {label}"] = asdict(found)
            print(
                f"{f'{name}, {label}':<42}{found.padding:>9.1%}{found.english_padding:>9.1%}{found.lost:>8.1%}"
                f"{found.micro_batches:>10.1f}{found.largest_tokens:>9}{found.repeated_english:>10.2%}"
                f"{found.milliseconds:>9.1f}"
            )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"rows": len(lengths), "token_percentiles_5_25_50_75_95": quartiles, "results": results}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
