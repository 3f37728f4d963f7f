"""A CC-Tuning step against ordinary fine-tuning of the same rows, and against the way of the authors' code.

(a) One step of fixed lengths: forward, backward and optimizer, without padding. ML-SFT is this project's, whose head
runs on the response alone, and once more with the head on every position, as transformers' own fine-tuning does. The
paper reports 1.12 to 1.16 (Ye et al. 2025, table 3). (b) With `--pairs-file`, whole optimizer steps of real rows: real
tokens per second with the micro-batches of the training stage, against rows as they come padded to the longest.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from authors_training import AuthorsModel, authors_batches
from cc_tuning.training.flops import flops_of_model, peak_flops
from cc_tuning.training.step_batches import StepCollator, TokenCounts
from random_models import SHAPES, build_model
from timing import Comparison, compare, parser, report, seconds_of, summarised
from torch import Tensor, nn

from cc_tuning.miniature.tokenizer import train_tokenizer
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.prompts import ChatPrompts
from cc_tuning.training.batches import BatchShape, LengthGroupedBatches
from cc_tuning.training.collate import Batch, ConnectionCollator, ResponseCollator

Row = dict[str, Any]
Step = Callable[[], None]


def as_row(row_id: int, input_ids: list[int], prompt_length: int, english_input_ids: list[int]) -> Row:
    """A training row of the columns that the collators read."""
    return {
        "row_id": str(row_id),
        "input_ids": input_ids,
        "prompt_length": prompt_length,
        "english_input_ids": english_input_ids,
    }


def draw_rows(rows: int, prompt: int, response: int, english: int, vocabulary: int) -> list[Row]:
    """Random rows of equal lengths, so that no batch has padding."""
    draw = torch.Generator().manual_seed(0)

    def ids(length: int) -> list[int]:
        return torch.randint(10, vocabulary, (length,), generator=draw).tolist()

    return [as_row(row, ids(prompt + response), prompt, ids(english)) for row in range(rows)]


def on_device(batch: Batch, device: str) -> dict[str, Any]:
    """The batch's tensors where the model is."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def optimizer_of(model: nn.Module, name: str) -> torch.optim.Optimizer:
    """`adamw` keeps two numbers a weight, `adafactor` one per row and column."""
    if name == "adafactor":
        return torch.optim.Adafactor(model.parameters(), lr=1e-5)
    return torch.optim.AdamW(model.parameters(), lr=1e-5, fused=next(model.parameters()).is_cuda)


def step_of(model: nn.Module, batches: Sequence[dict[str, Any]], optimizer: torch.optim.Optimizer) -> Step:
    """A function that takes one optimizer step on the micro-batches."""
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            output = model(**batch)
            (output if isinstance(output, Tensor) else output.loss).backward()
        optimizer.step()

    return step


def with_head_everywhere(rows: Sequence[Row], device: str) -> dict[str, Any]:
    """A batch as transformers' fine-tuning has it: a label, or none, for every position."""
    batch = next(authors_batches(rows, len(rows), device))
    return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}


def fixed_lengths(arguments: Any) -> dict[str, Comparison]:
    """(a): CC-Tuning to ML-SFT, one micro-batch a step, for each English length."""
    figures = {}
    device, vocabulary = arguments.device, SHAPES[arguments.shape][1]["vocab_size"]
    for english in arguments.english:
        base = build_model(arguments.shape, device, arguments.dtype)
        # One model and one optimizer for both sides: a large one has no room for two, and its arithmetic is the same.
        model = CrossLingualModel.from_base(base, ConnectionConfig()).to(device)
        optimizer = optimizer_of(model, arguments.optimizer)
        rows = draw_rows(arguments.rows, arguments.prompt, arguments.response, english, vocabulary)
        connected = step_of(model, [on_device(ConnectionCollator(0, 0)(rows), device)], optimizer)
        plain = step_of(model.base, [on_device(ResponseCollator(0)(rows), device)], optimizer)
        everywhere = step_of(model.base, [with_head_everywhere(rows, device)], optimizer)
        figures[f"English {english} / ML-SFT"] = compare(plain, connected, arguments.pairs)
        figures[f"English {english} / head everywhere"] = compare(everywhere, connected, arguments.pairs)
        print_use(f"English {english}", base.config, rows, figures[f"English {english} / ML-SFT"], arguments)
    return figures


def print_use(name: str, config: Any, rows: Sequence[Row], figure: Comparison, arguments: Any) -> None:
    """FLOPs a second of the CC-Tuning step, their share of the device's peak where that is known, and memory."""
    counts = StepCollator(ConnectionCollator(0, 0))([rows]).counts
    rate = flops_of_model(config).of(counts) / figure.new_seconds
    peak = peak_flops(torch.device(arguments.device), arguments.dtype)
    share = f", MFU {rate / peak:.1%}" if peak else ""
    memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if torch.cuda.is_available() else ""
    print(f"{name}: {counts.tokens / figure.new_seconds:,.0f} tokens/s, {rate / 1e12:.3f} TFLOP/s{share}{memory}")


def read_rows(path: Path, vocabulary: int, cutoff: int) -> list[Row]:
    """Those rows of a file with `inputs`, `targets`, `inputs_en` that fit, by a tokenizer trained on them."""
    pairs = pl.read_parquet(path, columns=["inputs", "targets", "inputs_en"])
    texts = [text for column in pairs.iter_columns() for text in column]
    prompts = ChatPrompts(train_tokenizer(texts, vocabulary, cutoff))
    examples = prompts.encode_examples(pairs["inputs"].to_list(), pairs["targets"].to_list())
    english = prompts.encode_prompts(pairs["inputs_en"].to_list())
    return [
        as_row(place, example.input_ids, example.prompt_length, ids)
        for place, (example, ids) in enumerate(zip(examples, english, strict=True))
        if len(example.input_ids) <= cutoff
    ]


def real_rows(arguments: Any) -> dict[str, Comparison]:
    """(b): whole steps of real rows, ours against the authors' way; each step is a pair, its timings per real token."""
    device = arguments.device
    rows = read_rows(arguments.pairs_file, SHAPES[arguments.shape][1]["vocab_size"], cutoff=1024)
    shape = BatchShape(arguments.global_rows, arguments.device_rows, arguments.device_rows * 1024, max_padding=0.05)
    lengths, english = ([len(row[name]) for row in rows] for name in ("input_ids", "english_input_ids"))
    grouped = iter(LengthGroupedBatches([row["row_id"] for row in rows], lengths, english, shape, seed=0))
    ours = CrossLingualModel.from_base(build_model(arguments.shape, device, arguments.dtype), ConnectionConfig())
    theirs = AuthorsModel(build_model(arguments.shape, device, arguments.dtype))
    optimizers = {model: optimizer_of(model.to(device), arguments.optimizer) for model in (ours, theirs)}
    timings, total = [], TokenCounts()
    for pair in range(arguments.pairs):
        indices = [list(batch) for batch in next(grouped).micro_batches]
        step = StepCollator(ConnectionCollator(0, 0))([[rows[index] for index in batch] for batch in indices])
        # The same rows in the order of the file, which knows nothing of lengths.
        in_order = [rows[index] for index in sorted(index for batch in indices for index in batch)]
        ways = {
            theirs: step_of(theirs, list(authors_batches(in_order, arguments.device_rows, device)), optimizers[theirs]),
            ours: step_of(ours, [on_device(batch, device) for batch in step.micro_batches], optimizers[ours]),
        }
        order = (theirs, ours) if pair % 2 else (ours, theirs)
        seconds = {model: seconds_of(ways[model]) for model in order}
        tokens = step.counts.tokens
        timings.append(tuple((seconds[model][0] / tokens, seconds[model][1] / tokens) for model in (theirs, ours)))
        total.add(step.counts)
    figures = summarised(timings)
    print(
        f"{len(rows)} rows, {arguments.pairs} steps of {arguments.global_rows}; real tokens/s: authors' way "
        f"{1 / figures.base_seconds:,.0f}, ours {1 / figures.new_seconds:,.0f}; "
        f"padding of ours {1 - total.tokens / total.padded:.1%}"
    )
    return {"seconds a token, ours / authors'": figures}


def main() -> None:
    options = parser(__doc__ or "", "training", pairs=15)
    for name, value in {"rows": 1, "prompt": 256, "response": 64, "global-rows": 128, "device-rows": 16}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--english", type=int, nargs="+", default=[128, 256], help="lengths of the English prompt")
    options.add_argument("--shape", choices=sorted(SHAPES), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    options.add_argument("--optimizer", choices=["adamw", "adafactor"], default="adamw")
    options.add_argument("--pairs-file", type=Path, help="parquet with inputs, targets and inputs_en, for (b)")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = real_rows(arguments) if arguments.pairs_file else fixed_lengths(arguments)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report(f"Training, {arguments.shape}: new is CC-Tuning", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
