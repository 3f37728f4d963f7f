"""A training step with the head at labelled positions, against the head from a batch's first label on.

Rows have prompts of different lengths, as those of a micro-batch have, so a rectangle `[B, K]` of positions has more
than the labels in it. `last` is that rectangle; `labels` is the head on every label at once; `parts` is the head on as
many labels as `--logit-bytes` of float32 logits have, computed again in the backward pass. Steps are forward and
backward passes of the `small` shape without an optimizer, in turn. The memory of a side is the most that a process of
its own took beyond what it had before its first step.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from random_models import SHAPES
from timing import in_turn, parser, report, summarised
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from cc_tuning.training.collators import Batch
from cc_tuning.training.objectives.base import CalledModel, model_inputs, targets_of
from cc_tuning.training.objectives.sft import SupervisedFineTuning

OBJECTIVE = SupervisedFineTuning()
SIDES = ("last", "labels", "parts")


def build(vocabulary: int) -> PreTrainedModel:
    """The small shape with that vocabulary and one matrix for embedding and head."""
    family, settings = SHAPES["small"]
    no_ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    config = AutoConfig.for_model(
        family, **{**settings, "vocab_size": vocabulary}, tie_word_embeddings=True, **no_ids
    )  # fmt: skip
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.train()


def draw_batch(rows: int, tokens: int, vocabulary: int) -> Batch:
    """Rows of nearly equal lengths of which a fifth to four fifths are prompt."""
    draw = torch.Generator().manual_seed(0)
    examples = []
    for row in range(rows):
        prompt = tokens // 5 + (3 * tokens * row) // (5 * max(rows - 1, 1))
        ids = torch.randint(10, vocabulary, (tokens - row % 3,), generator=draw).tolist()
        examples.append({"input_ids": ids, "prompt_length": prompt})
    return OBJECTIVE.collator(0, {})(examples)


def loss_of_the_last(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The mean over labels, from logits of the rectangle that begins before the batch's first label."""
    targets = targets_of(batch)
    kept = targets.shape[1] - int(targets.ne(-100).any(0).nonzero()[0])
    logits = model(**model_inputs(batch), logits_to_keep=kept).logits.float()
    flat = targets[:, -kept:].reshape(-1)
    return nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), flat, ignore_index=-100)


def loss_of(side: str, model: PreTrainedModel, batch: Batch, logit_bytes: int) -> Tensor:
    """The mean over labels, by one of the three ways."""
    if side == "last":
        return loss_of_the_last(model, batch)
    called = CalledModel(model, model, logit_bytes if side == "parts" else None)
    return OBJECTIVE.loss(called, batch, OBJECTIVE.count(batch)).loss


def step_of(side: str, model: PreTrainedModel, arguments: Any) -> Callable[[], None]:
    """One forward and backward pass."""
    batch = draw_batch(arguments.rows, arguments.tokens, model.config.vocab_size)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss_of(side, model, batch, arguments.logit_bytes).backward()

    return step


def positions(arguments: Any) -> dict[str, float]:
    """Positions with logits to one label."""
    targets = targets_of(draw_batch(arguments.rows, arguments.tokens, 100)).ne(-100)
    rectangle = targets.shape[0] * (targets.shape[1] - int(targets.any(0).nonzero()[0]))
    return {"last": rectangle / int(targets.sum()), "labels": 1.0, "parts": 1.0, "count": int(targets.sum())}


def peak_mib(side: str, arguments: Any, vocabulary: int) -> float:
    """What two steps took beyond what the process had, in MiB; from a process of its own."""
    command = [sys.executable, __file__, "--memory-of", side, "--vocabularies", str(vocabulary)]
    command += [part for name in ("rows", "tokens", "logit_bytes", "threads")
                for part in (f"--{name.replace('_', '-')}", str(getattr(arguments, name)))]  # fmt: skip
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(ended.stdout.splitlines()[-1]))


def tell_memory(arguments: Any) -> None:
    """The process of `peak_mib`."""
    step = step_of(arguments.memory_of, build(arguments.vocabularies[0]), arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    step()
    print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    options = parser(__doc__ or "", "label_head", pairs=7)
    for name, value in {"rows": 4, "tokens": 96, "logit-bytes": 1 << 26}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--vocabularies", type=int, nargs="+", default=[32_000, 262_144])
    options.add_argument("--memory-of", choices=SIDES, help="measure the memory of one side, and nothing else")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        tell_memory(arguments)
        return
    print("positions with logits to a label:", positions(arguments))
    figures = {}
    for vocabulary in arguments.vocabularies:
        print(vocabulary, {side: f"{peak_mib(side, arguments, vocabulary):,.0f} MiB" for side in SIDES})
        model = build(vocabulary)
        timings = in_turn({side: step_of(side, model, arguments) for side in SIDES}, arguments.pairs, 600)
        for side in SIDES[1:]:
            pairs = list(zip(timings["last"], timings[side], strict=True))
            figures[f"{vocabulary}, {side} / last"] = summarised(pairs)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report("Head at labelled positions, small: seconds of a step", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
