"""Training with CC-Tuning beside ML-SFT, vanilla fine-tuning and the authors' way, of the same rows and weights.

ML-SFT has the language-model head on the response alone, vanilla fine-tuning on every position; the authors' way is
that of `authors_way.py`. They take turns with forward and backward passes of one model, and so does an optimizer step
by itself: a step of 128 rows has many passes and one such step, so ratios are given of passes and of such steps.
The optimizer is Adafactor, whose state leaves room for the gradients of 8 billion weights. Two ways follow with LoRA
where peft is installed.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import authors_way
import torch
from random_models import build_model
from timing import in_turn
from torch import Tensor, nn

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from gpu_parts.board import Board, peak_memory_gib, release_memory
from gpu_parts.flops import StepFlops, peak_flops
from gpu_parts.options import Options, Sizes

Loss = Callable[[], Tensor]
CONNECTED, RESPONSE, VANILLA, AUTHORS = "CC-Tuning", "ML-SFT", "vanilla", "authors' way"
OPTIMIZER = "optimizer"
GLOBAL_ROWS = 128  # of an optimizer step in the paper


def draw_batch(rows: int, english: int, sizes: Sizes, model: CrossLingualModel) -> dict[str, Tensor]:
    """Random rows of equal lengths, without padding, labelled on the response: `labels [B, T]`."""
    draw = torch.Generator().manual_seed(0)

    def ids(length: int) -> Tensor:
        return torch.randint(10, model.config.vocab_size, (rows, length), generator=draw)

    prompt, response = ids(sizes.prompt), ids(sizes.response)
    batch = {
        "input_ids": torch.cat([prompt, response], dim=1),
        "labels": torch.cat([torch.full_like(prompt, -100), response], dim=1),
        "connection_positions": torch.full((rows,), sizes.prompt - 1),
        "english_input_ids": ids(english),
        "english_positions": torch.full((rows,), english - 1),
    }
    batch |= {
        "attention_mask": torch.ones_like(batch["input_ids"]),
        "english_attention_mask": torch.ones_like(batch["english_input_ids"]),
    }
    return {name: value.to(model.device) for name, value in batch.items()}


def losses_of(model: CrossLingualModel, batch: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Loss]:
    """The loss of the batch by each way to train."""
    kept = sizes.response + 1  # from the last prompt token, which predicts the first of the response
    vanilla = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    narrow = {"labels": batch["labels"][:, -kept:], "logits_to_keep": kept}
    connected = {**batch, **narrow, "measures_cosine": True}  # as the training stage logs it
    return {
        CONNECTED: lambda: model(**connected).loss,
        RESPONSE: lambda: model.base(**vanilla | narrow, use_cache=False).loss,
        VANILLA: lambda: model.base(**vanilla, use_cache=False).loss,
        AUTHORS: lambda: authors_way.training_loss(model, dict(batch), english_gradient=False),
    }


def trained_by(name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """`adafactor`, one tensor after the other since all at once would hold a second copy of them, or `adamw`."""
    if name == "adafactor":
        return torch.optim.Adafactor(parameters, lr=1e-5, foreach=False)
    return torch.optim.AdamW(parameters, lr=1e-5, fused=True)


@dataclass(frozen=True)
class Steps:
    """Steps of one model by one optimizer, to be measured in batches of several shapes."""

    label: str
    model: CrossLingualModel
    optimizer: torch.optim.Optimizer
    ways: tuple[str, ...]
    sizes: Sizes
    board: Board

    def measure(self, english: int, seconds: float) -> None:
        """Rows of the table for an English length, with the first number of rows that fits."""
        for rows in self.sizes.rows:
            try:
                self._measure(rows, english, seconds)
                return
            except torch.OutOfMemoryError as error:
                self.board.add(f"{self.label}, {rows} rows, English {english}", does_not_fit=str(error)[:200])
            self.optimizer.zero_grad(set_to_none=True)
            release_memory()

    def _measure(self, rows: int, english: int, seconds: float) -> None:
        """Each way by itself, the optimizer, then the first way to each other one."""
        losses = losses_of(self.model, draw_batch(rows, english, self.sizes, self.model), self.sizes)
        passes = {way: partial(self._forward_and_backward, losses[way]) for way in self.ways}
        peaks = {way: peak_memory_gib(both) for way, both in passes.items()}
        timings = in_turn({**passes, OPTIMIZER: self.optimizer.step}, self.sizes.rounds, seconds)
        medians = {way: statistics.median(wall for wall, _ in rounds) for way, rounds in timings.items()}
        name = f"{self.label}, {rows} rows, English {english}"
        for way in self.ways:
            self.board.add(f"{name}: {way}", **self._speed(way, rows, english, medians[way]), peak_gib=peaks[way])
        self.board.add(f"{name}: {OPTIMIZER}", seconds=medians[OPTIMIZER])
        micro_batches = max(GLOBAL_ROWS // rows, 1)
        steps = {way: micro_batches * medians[way] + medians[OPTIMIZER] for way in self.ways}
        for way in self.ways[1:]:
            ratio = steps[self.ways[0]] / steps[way]
            self.board.compare(name, timings, way, self.ways[0], step_of_128_rows=ratio)

    def _forward_and_backward(self, loss: Loss) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss().backward()

    def _speed(self, way: str, rows: int, english: int, seconds: float) -> dict[str, float | None]:
        """Seconds, tokens of prompt and response a second, and the share of the card's peak."""
        tokens = self.sizes.prompt + self.sizes.response
        connects = way in (CONNECTED, AUTHORS)
        is_full = all(parameter.requires_grad for parameter in self.model.base.parameters())
        peak = peak_flops(self.sizes.dtype) if is_full else None
        flops = rows * StepFlops.of(self.model.base).step(tokens, self.sizes.response, english if connects else 0)
        mfu = None if peak is None else flops / seconds / peak
        return {"seconds": seconds, "tokens_per_second": rows * tokens / seconds, "mfu": mfu}


def measure_model(name: str, sizes: Sizes, board: Board, seconds: float) -> None:
    """All ways on one model, fully and then with LoRA, in about `seconds`."""
    model = CrossLingualModel.from_base(build_model(name, board.device, sizes.dtype), ConnectionConfig())
    model = model.to(board.device).train()
    each = seconds / (len(sizes.english) + 1) / 2  # half of it for what is not timed
    full = Steps(
        name, model, trained_by("adafactor", model.parameters()), (CONNECTED, RESPONSE, VANILLA, AUTHORS), sizes, board
    )
    for english in sizes.english:
        full.measure(english, each)
    full.optimizer.zero_grad(set_to_none=True)
    if find_spec("peft") is None:
        board.add(f"{name}, LoRA", skipped="peft is not installed")
        return
    with board.attempted(f"{name}, LoRA"):
        lora = import_module("gpu_parts.lora")
        lora.add_adapters(model.base)
        optimizer = trained_by("adamw", lora.trained_parameters(model))
        Steps(f"{name}, LoRA", model, optimizer, (CONNECTED, RESPONSE), sizes, board).measure(sizes.english[0], each)


def measure(options: Options, board: Board) -> None:
    """The models one after the other, each with its share of the time."""
    models = options.sizes.models
    for place, name in enumerate(models):
        with board.attempted(name):
            measure_model(name, options.sizes, board, board.left / (len(models) - place))
        release_memory()
