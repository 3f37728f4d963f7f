"""The optimizer of the tiny models' matrices against torch's, and against the singular values it promises."""

import pytest
import torch

from cc_tuning.miniature.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_update_keeps_the_singular_vectors_and_brings_the_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    U, values, V = torch.linalg.svd(matrix, full_matrices=False)
    matrix = U @ torch.diag(values.clamp(min=0.2 * float(values.max()))) @ V
    aligned = U.T @ orthogonalised(matrix) @ V.T
    near_one = aligned.diagonal()
    assert (aligned - torch.diag(near_one)).abs().max() < 1e-9
    assert near_one.min() > 0.6 and near_one.max() < 1.3


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_steps_are_those_of_torch_up_to_its_bfloat16(shape: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=draw)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [Muon([ours], lr=0.01), torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0)]
    for _ in range(6):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - start).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.02 * moved
