"""A CC-Tuning step against ordinary fine-tuning of the same rows, and against the way of the authors' code.

(a) One step of fixed lengths: forward, backward and optimizer, without padding. The references are vanilla fine-tuning,
as transformers does it with the head on every position, and this project's ML-SFT, whose head runs on the response
alone. CC-Tuning is this project's; `whole` is the same with the head on every position, so that the connection alone
differs from vanilla fine-tuning. The paper reports 1.12 to 1.16 (Ye et al. 2025, table 3). (b) With `--pairs-file`,
whole optimizer steps of real rows: real tokens per second with the micro-batches of the training stage, against rows
as they come padded to the longest.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import authors_way
import polars as pl
import torch
from random_models import SHAPES, build_model
from timing import Comparison, compare, parser, report, seconds_of, summarised
from torch import Tensor, nn
from transformers import PreTrainedModel

from cc_tuning.miniature.tokenizers import train_tokenizer
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.connection import CrossLingualModel
from cc_tuning.runtime.padding import padded
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.training.collators import Batch, ConnectionCollator, ResponseCollator, StepCollator, TokenCounts
from cc_tuning.training.dataset import MicroBatchRows, Rows
from cc_tuning.training.flops import flops_of_model, peak_flops
from cc_tuning.training.objectives.base import CalledModel
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.sampler import BatchShape, LengthGroupedBatches

Row = dict[str, Any]
Loss = Callable[[], Tensor]
Step = Callable[[], None]

OBJECTIVE = SupervisedFineTuning()
RESPONSES = ResponseCollator(0, OBJECTIVE.contract.sequences)
CONNECTED = ConnectionCollator(RESPONSES, OBJECTIVE.contract.sequences, pad_token_id=0, offset=0)


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
    """`adamw` keeps two numbers a weight, fused as the Trainer has it; `adafactor` one per row and column."""
    if name == "adafactor":
        return torch.optim.Adafactor(model.parameters(), lr=1e-5)
    return torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)


def step_of(model: nn.Module, losses: Sequence[Loss], optimizer: torch.optim.Optimizer) -> Step:
    """A function that takes one optimizer step on the losses of its micro-batches."""
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for loss in losses:
            loss().backward()
        optimizer.step()

    return step


def loss_of(model: PreTrainedModel | CrossLingualModel, batch: Batch, device: str) -> Loss:
    """The objective's loss of a collator's batch; a connected model measures what the Trainer asks it to."""
    moved, count = on_device(batch, device), OBJECTIVE.count(batch).float().to(device)
    call = partial(model, measures_cosine=True) if isinstance(model, CrossLingualModel) else model
    called = CalledModel(model, call)
    return lambda: OBJECTIVE.loss(called, moved, count).loss


def vanilla_loss_of(model: nn.Module, batch: Batch, device: str) -> Loss:
    """The loss that transformers computes inside of the model."""
    moved = on_device(batch, device)
    return lambda: model(**moved).loss


def labelled_everywhere(rows: Sequence[Row], device: str) -> Batch:
    """A batch as transformers' fine-tuning has it: a label, or none, for every position, and logits for all."""
    prompts = [row["prompt_length"] for row in rows]
    labels = [[-100] * end + row["input_ids"][end:] for row, end in zip(rows, prompts, strict=True)]
    input_ids, attention_mask = padded([row["input_ids"] for row in rows], 0)
    batch: Batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": padded(labels, -100)[0]}
    return on_device(batch, device)


def authors_losses(model: CrossLingualModel, rows: Sequence[Row], device_rows: int, device: str) -> list[Loss]:
    """The losses of a step in the authors' way: `device_rows` rows as they come, padded to the longest."""
    losses = []
    for first in range(0, len(rows), device_rows):
        some = rows[first : first + device_rows]
        english = [row["english_input_ids"] for row in some]
        batch = labelled_everywhere(some, device) | {
            "connection_positions": torch.tensor([row["prompt_length"] - 1 for row in some], device=device),
            "english_input_ids": padded(english, 0)[0].to(device),
            "english_positions": torch.tensor([len(ids) - 1 for ids in english], device=device),
        }
        losses.append(partial(authors_way.training_loss, model, batch, english_gradient=False))
    return losses


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
        connection, whole = CONNECTED(rows), labelled_everywhere(rows, device)
        losses = {
            "ML-SFT": loss_of(base, RESPONSES(rows), device),
            "vanilla": vanilla_loss_of(base, whole, device),
            "connected": loss_of(model, connection, device),
            "whole": vanilla_loss_of(model, connection | whole | {"measures_cosine": True}, device),
        }
        steps = {side: step_of(model, [loss], optimizer) for side, loss in losses.items()}
        name = f"English {english}"
        figures[f"{name} / vanilla"] = compare(steps["vanilla"], steps["connected"], arguments.pairs)
        figures[f"{name}, whole / vanilla"] = compare(steps["vanilla"], steps["whole"], arguments.pairs)
        figures[f"{name} / ML-SFT"] = compare(steps["ML-SFT"], steps["connected"], arguments.pairs)
        print_use(name, base.config, rows, figures[f"{name} / ML-SFT"], arguments)
    return figures


def print_use(name: str, config: Any, rows: Sequence[Row], figure: Comparison, arguments: Any) -> None:
    """FLOPs a second of the CC-Tuning step, their share of the device's peak where that is known, and memory."""
    counts = StepCollator(CONNECTED)([MicroBatchRows([*rows])]).counts
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
    known = Rows.of(rows, OBJECTIVE.contract)
    grouped = iter(LengthGroupedBatches(known.row_ids, known.lengths, known.english_lengths, shape, seed=0))
    model = CrossLingualModel.from_base(build_model(arguments.shape, device, arguments.dtype), ConnectionConfig())
    optimizer = optimizer_of(model.to(device), arguments.optimizer)
    timings, total = [], TokenCounts()
    for pair in range(arguments.pairs):
        indices = next(grouped)
        step = StepCollator(CONNECTED)(known.__getitems__(indices))
        # The same rows in the order of the file, which knows nothing of lengths.
        in_order = [rows[index] for index in sorted(index for batch in indices.micro_batches for index in batch.rows)]
        base = step_of(model, authors_losses(model, in_order, arguments.device_rows, device), optimizer)
        new = step_of(model, [loss_of(model, each.batch, device) for each in step.micro_batches], optimizer)
        seconds = {way: seconds_of(way) for way in ((base, new) if pair % 2 else (new, base))}
        tokens = step.counts.tokens
        timings.append(tuple((seconds[way][0] / tokens, seconds[way][1] / tokens) for way in (base, new)))
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
