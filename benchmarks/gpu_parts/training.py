"""A training step of CC-Tuning beside ML-SFT, vanilla fine-tuning and the authors' way, of the same rows and weights.

ML-SFT has the language-model head on the response alone, vanilla fine-tuning on every position; the authors' way is
that of `authors_way.py`. All take turns on one model and one Adafactor, whose state is small enough to leave room for
the gradients of 8 billion weights. LoRA's two sides follow where peft is installed.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import authors_way
import torch
from random_models import build_model
from timing import in_turn
from torch import Tensor, nn

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from gpu_parts.board import Board, release_memory
from gpu_parts.flops import StepFlops, peak_flops
from gpu_parts.options import Options, Sizes

if find_spec("peft") is not None:  # whether it is there is the machine's matter; the table says when it is not
    from peft import LoraConfig, get_peft_model

Loss = Callable[[], Tensor]
CONNECTED, RESPONSE, VANILLA, AUTHORS = "CC-Tuning", "ML-SFT", "vanilla", "authors' way"
LORA_RANK = 16


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


def step(optimizer: torch.optim.Optimizer, loss: Loss) -> None:
    """One optimizer step."""
    optimizer.zero_grad(set_to_none=True)
    loss().backward()
    optimizer.step()


def trained_by(name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """`adafactor`, one tensor after the other since all at once would hold a second copy of them, or `adamw`."""
    if name == "adafactor":
        return torch.optim.Adafactor(parameters, lr=1e-5, foreach=False)
    return torch.optim.AdamW(parameters, lr=1e-5, fused=True)


def peak_memory(action: Callable[[], None], device: str) -> float | None:
    """GiB that tensors took at most during `action`; None on a CPU."""
    if device == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats()
    action()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


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
        """Each way by itself, then the first way to each other one."""
        batch = draw_batch(rows, english, self.sizes, self.model)
        steps = {way: partial(step, self.optimizer, loss) for way, loss in self._losses(batch).items()}
        peaks = {way: peak_memory(one, self.board.device) for way, one in steps.items()}
        timings = in_turn(steps, self.sizes.rounds, seconds)
        name = f"{self.label}, {rows} rows, English {english}"
        for way in self.ways:
            median = statistics.median(wall for wall, _ in timings[way])
            self.board.add(f"{name}: {way}", **self._speed(way, rows, english, median), peak_memory_gib=peaks[way])
        for way in self.ways[1:]:
            self.board.compare(name, timings, way, self.ways[0])

    def _losses(self, batch: Mapping[str, Tensor]) -> dict[str, Loss]:
        losses = losses_of(self.model, batch, self.sizes)
        return {way: losses[way] for way in self.ways}

    def _speed(self, way: str, rows: int, english: int, seconds: float) -> dict[str, float | None]:
        """Seconds a step, tokens of prompt and response a second, and the share of the card's peak."""
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
    if find_spec("peft") is None:
        board.add(f"{name}, LoRA", skipped="peft is not installed")
        return
    full.optimizer.zero_grad(set_to_none=True)
    get_peft_model(model.base, LoraConfig(r=LORA_RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapters = trained_by("adamw", [parameter for parameter in model.parameters() if parameter.requires_grad])
    Steps(f"{name}, LoRA", model, adapters, (CONNECTED, RESPONSE), sizes, board).measure(sizes.english[0], each)


def measure(options: Options, board: Board) -> None:
    """The models one after the other, each with its share of the time."""
    models = options.sizes.models
    for place, name in enumerate(models):
        with board.attempted(name):
            measure_model(name, options.sizes, board, board.left / (len(models) - place))
        release_memory()
