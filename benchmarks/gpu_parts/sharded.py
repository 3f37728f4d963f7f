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

TOLERANCE = 1e-4  # relative to the largest element of the same tensor; a GPU adds some sums in varying order


def check_sharded(model: CrossLingualModel, batch: dict[str, Tensor], board: Board) -> None:
    """Loss and gradients of an AdamW step, and the loss after it, sharded and whole."""
    batch = {name: value.to(board.device) for name, value in batch.items()}
    whole, sharded = (copy.deepcopy(model).to(board.device).train() for _ in range(2))
    torch.distributed.init_process_group(
        "nccl" if board.device == "cuda" else "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    try:
        shard(sharded, board.device)
        expected, got = (two_steps(each, batch) for each in (whole, sharded))
        differences = {name: relative(got[name], value) for name, value in expected.items()}
        for name in ("loss", "loss after a step"):
            board.check(f"FSDP2: {name}", differences.pop(name), TOLERANCE)
        board.check(f"FSDP2: worst of {len(differences)} gradients", max(differences.values()), TOLERANCE)
    finally:
        torch.distributed.destroy_process_group()


def shard(model: CrossLingualModel, device: str) -> None:
    """Shard each decoder layer by itself and the rest together, as the training stage does."""
    mesh = init_device_mesh(device, (1,))
    for layer in find_components(model.base).layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def two_steps(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loss and whole gradients of the first step, and the loss of the second."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    first = model(**batch).loss
    first.backward()
    gradients = {name: whole_of(value.grad) for name, value in model.named_parameters() if value.grad is not None}
    optimizer.step()
    optimizer.zero_grad()
    second = model(**batch).loss
    second.backward()  # a sharded model expects it
    return {"loss": first.detach(), "loss after a step": second.detach(), **gradients}


def whole_of(value: Tensor) -> Tensor:
    """A copy of a tensor, put together from its shards where it has some."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).clone()
