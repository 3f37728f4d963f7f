"""One training step of a model sharded by FSDP2 in a process group of this device (NCCL, gloo on a CPU) alone.

The arithmetic is that of one process; what is tried is that the collectives run and that the hooks of the connection
and those of the sharding go together.
"""

import copy
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from cc_tuning.model import CrossLingualModel
from cc_tuning.model.families import find_components
from gpu_parts.board import Board
from gpu_parts.differences import relative

TOLERANCE = 1e-5  # relative to the largest change in the same tensor


def check_sharded(model: CrossLingualModel, batch: dict[str, Tensor], board: Board) -> None:
    """The changes that one AdamW step makes to each weight, sharded and whole."""
    batch = {name: value.to(board.device) for name, value in batch.items()}
    whole, sharded = (copy.deepcopy(model).to(board.device).train() for _ in range(2))
    before = {name: value.detach().clone() for name, value in whole.named_parameters()}
    torch.distributed.init_process_group(
        "nccl" if board.device == "cuda" else "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    try:
        shard(sharded, board.device)
        steps = [one_step(each, batch) for each in (whole, sharded)]
        board.check("FSDP2: loss of a step", abs(steps[0] - steps[1]) / abs(steps[0]), TOLERANCE)
        expected = changes(whole, before)
        got = changes(sharded, before)
        worst = max(relative(got[name], change) for name, change in expected.items())
        board.check("FSDP2: worst change of a weight", worst, TOLERANCE)
    finally:
        torch.distributed.destroy_process_group()


def shard(model: CrossLingualModel, device: str) -> None:
    """Shard each decoder layer by itself and the rest together, as the training stage does."""
    mesh = init_device_mesh(device, (1,))
    for layer in find_components(model.base).layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def one_step(model: nn.Module, batch: dict[str, Tensor]) -> float:
    """Take a step; its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def changes(model: nn.Module, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """By how much each weight has changed."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    whole = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in parameters.items()}
    return {name: value - before[name] for name, value in whole.items()}
