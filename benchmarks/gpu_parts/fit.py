"""The fit of the Transform Matrix on this device: at the paper's size, and against `torch.linalg.lstsq`.

`benchmarks/transform.py` has the rows and the two measurements, for a CPU as well.
"""

import torch
from timing import in_turn
from torch import Tensor
from transform import draw_rows, relative_difference, stream, streamed_fit

from gpu_parts.board import Board, peak_memory_gib
from gpu_parts.options import Options


def lstsq(A: Tensor, B: Tensor) -> Tensor:
    """`argmin ‖A W − B‖²` from all rows at once, in float64."""
    return torch.linalg.lstsq(A.double(), B.double()).solution


def measure(options: Options, board: Board) -> None:
    """Seconds, memory and error of one streamed fit; then of a few fits and solutions in turn."""
    sizes = options.sizes
    rows, hidden = sizes.fit
    with board.attempted("streamed fit"):
        stream(rows, hidden, board.device)  # the libraries are loaded by the first call
        board.add(f"streamed fit, {rows:,} x {hidden:,}", **stream(rows, hidden, board.device))
    rows, hidden = sizes.lstsq
    with board.attempted("torch.linalg.lstsq"):
        A, B = (side.to(board.device) for side in draw_rows(rows, hidden))
        sides = {"lstsq": lambda: lstsq(A, B), "streamed fit": lambda: streamed_fit(A, B, board.device)}
        for name, side in sides.items():
            board.add(f"{name}, {rows:,} x {hidden:,}", peak_gib=peak_memory_gib(side))
        board.compare(f"{rows:,} x {hidden:,}", in_turn(sides, 3, board.left / 2), "lstsq", "streamed fit")
        expected = lstsq(A, B).cpu().numpy()
        for ridge in (0.0, 1e-6):
            difference = relative_difference(streamed_fit(A, B, board.device, ridge).matrix, expected)
            board.add(f"largest relative difference, ridge {ridge:g}", difference=difference)
