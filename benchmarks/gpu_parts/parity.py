"""The same numbers on this device: as the authors recorded, as a CPU computes, batched as single, sharded as whole.

All in float32 without TF32 (torch's default for matrix products), and at the end bfloat16 against float32, of which
only the distance is told. What may break the device for the rest of the process comes last.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.runtime.padding import padded
from gpu_parts.board import Board
from gpu_parts.differences import relative
from gpu_parts.golden import check_golden
from gpu_parts.options import Options
from gpu_parts.sharded import check_sharded

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "attn_implementation": "eager"},
}
"""The two families of the paper, and one that normalises the feed-forward output and looks through a window."""
HIDDEN, VOCABULARY, PADDING = 128, 512, 0
TOLERANCE = 1e-4  # relative to the largest element; float32 sums in another order


def random_model(family: str) -> CrossLingualModel:
    """Four layers with weights large enough to tell layers, and tokens, apart; on the CPU."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 4, "initializer_range": 0.15, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": PADDING,
    }  # fmt: skip
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes | FAMILIES[family]))
    model = CrossLingualModel.from_base(base, ConnectionConfig())
    model.set_transform_matrix(torch.randn(HIDDEN, HIDDEN) / HIDDEN**0.5)
    return model.eval()


def draw_prompts(count: int, seed: int) -> list[list[int]]:
    """Token ids of `count` prompts of 5 to 24 tokens."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 25, (count,), generator=draw).tolist()
    return [torch.randint(1, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]


def training_batch(count: int) -> dict[str, Tensor]:
    """What `CrossLingualModel.forward` takes, right padded, with given noise."""
    prompts, responses, english = (draw_prompts(count, seed) for seed in (1, 2, 3))
    ids, mask = padded([prompt + answer for prompt, answer in zip(prompts, responses, strict=True)], PADDING)
    english_ids, english_mask = padded(english, PADDING)
    ends = torch.tensor([len(prompt) for prompt in prompts])
    is_response = (torch.arange(ids.shape[1]) >= ends[:, None]) & (mask > 0)
    return {
        "input_ids": ids, "attention_mask": mask, "labels": ids.where(is_response, -100),
        "connection_positions": ends - 1, "english_input_ids": english_ids, "english_attention_mask": english_mask,
        "english_positions": english_mask.sum(1) - 1,
        "gumbel_noise": torch.randn(count, 4, generator=torch.Generator().manual_seed(4)),
    }  # fmt: skip


def outcome(model: CrossLingualModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loss, logits of real tokens, selection and every gradient of one training step, on the CPU."""
    output = model.train()(**{name: value.to(model.device) for name, value in batch.items()})
    model.zero_grad()
    output.loss.backward()
    model.eval()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    real = batch["attention_mask"].to(model.device) > 0
    found = {"loss": output.loss, "logits": output.logits[real], "selection": output.selection, **gradients}
    return {name: value.detach().float().cpu() for name, value in found.items()}


def check_training_pass(family: str, board: Board) -> None:
    """A training step's numbers here against the CPU's, and in bfloat16 against float32."""
    model, batch = random_model(family), training_batch(8)
    expected = outcome(model, batch)
    got = outcome(copy.deepcopy(model).to(board.device), batch)
    differences = {name: relative(got[name], value) for name, value in expected.items()}
    board.check(f"{family}, connected pass: loss, {board.device} to CPU", differences.pop("loss"), TOLERANCE)
    board.check(f"{family}, connected pass: logits", differences.pop("logits"), TOLERANCE)
    board.check(f"{family}, connected pass: selection", differences.pop("selection"), TOLERANCE)
    board.check(f"{family}, connected pass: worst gradient", max(differences.values()), 10 * TOLERANCE)
    half = copy.deepcopy(model).to(board.device)
    half.base.to(torch.bfloat16)  # the selector stays float32, as in training
    rounded = outcome(half, batch)
    agree = (rounded["selection"].argmax(-1) == expected["selection"].argmax(-1)).float().mean()
    board.add(
        f"{family}, bfloat16 to float32",
        loss=relative(rounded["loss"], expected["loss"]),
        logits=relative(rounded["logits"], expected["logits"]),
        equal_selections=float(agree),
    )


@torch.no_grad()
def check_generation(family: str, board: Board) -> None:
    """Answers of a padded batch against those of its prompts one by one, and against the CPU's."""
    on_cpu, prompts, english = random_model(family), draw_prompts(6, 1), draw_prompts(6, 3)
    here = copy.deepcopy(on_cpu).to(board.device)
    for mode in ("off", "transform", "parallel"):
        batched = answers(here, prompts, english, mode)
        single = [answers(here, [p], [e], mode)[0] for p, e in zip(prompts, english, strict=True)]
        name = f"{family}, {mode}: answers of a batch"
        board.check(f"{name} that differ from single ones", _unequal(batched, single), 0)
        board.check(f"{name} that differ from the CPU's", _unequal(batched, answers(on_cpu, prompts, english, mode)), 0)


def answers(model: CrossLingualModel, prompts: list[list[int]], english: list[list[int]], mode: str) -> list[list[int]]:
    """Twelve greedy tokens for each prompt, all in one left-padded batch."""
    ids, mask = (tensor.to(model.device) for tensor in padded(prompts, PADDING, side="left"))
    arguments: dict[str, Any] = {}
    if mode == "parallel":
        english_ids, english_mask = (tensor.to(model.device) for tensor in padded(english, PADDING, side="left"))
        arguments = {"english_input_ids": english_ids, "english_attention_mask": english_mask}
    output = model.generate(ids, mask, connection=mode, max_new_tokens=12, do_sample=False, **arguments)
    return output[:, ids.shape[1] :].tolist()


def _unequal(got: list[list[int]], expected: list[list[int]]) -> int:
    return sum(a != b for a, b in zip(got, expected, strict=True))


def measure(options: Options, board: Board) -> None:
    """Every check of this part; sizes are the same whatever the shape."""
    with board.attempted("golden tensors"):
        check_golden(board)
    for family in FAMILIES:
        for check in (check_training_pass, check_generation):
            with board.attempted(f"{family}, {check.__name__}"):
                check(family, board)
    with board.attempted("FSDP2"):
        check_sharded(random_model("llama"), training_batch(8), board)
