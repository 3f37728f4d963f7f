"""The streamed fit of the Transform Matrix against `numpy.linalg.lstsq` on all rows at once.

Same float32 rows for both; the fit gets them in batches, as from the model. Both solve in float64. Also measured: how
far the two results are apart, and the peak memory of a process that streams fewer or more rows.
"""

import resource
import subprocess
import sys

import numpy as np
import torch
from timing import compare, parser, report
from torch import Tensor

from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import DEFAULT_RIDGE, TransformFit, fit_transform_matrix

BATCH_ROWS = 512  # 16 prompts of a model with 32 layers


def draw_rows(rows: int, hidden_size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A `[rows, D]` and B = A W + noise, float32."""
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(rows, hidden_size, generator=draw)
    W = torch.randn(hidden_size, hidden_size, generator=draw) / hidden_size**0.5
    return A, A @ W + torch.randn(rows, hidden_size, generator=draw)


def streamed_fit(A: Tensor, B: Tensor, device: str, ridge: float = DEFAULT_RIDGE) -> TransformFit:
    """The fit of rows that arrive in batches."""
    moments = StreamingMoments(A.shape[1], device)
    for some_a, some_b in zip(A.split(BATCH_ROWS), B.split(BATCH_ROWS), strict=True):
        moments.update(some_a.to(device), some_b.to(device))
    return fit_transform_matrix(moments, ridge)


def relative_difference(W: Tensor, expected: np.ndarray) -> float:
    """Largest difference of an element, relative to the largest element."""
    return float(np.abs(W.cpu().numpy() - expected).max() / np.abs(expected).max())


def peak_memory_mib(rows: int, hidden_size: int) -> float:
    """Peak memory of a fresh process that draws, streams and fits `rows` rows, batch by batch."""
    command = [sys.executable, __file__, "--stream-rows", str(rows), "--hidden", str(hidden_size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def stream(rows: int, hidden_size: int) -> None:
    """What `peak_memory_mib` runs: no more rows in memory than one batch."""
    moments = StreamingMoments(hidden_size)
    draw = torch.Generator().manual_seed(0)
    for _ in range(rows // BATCH_ROWS):
        A, B = (torch.randn(BATCH_ROWS, hidden_size, generator=draw) for _ in range(2))
        moments.update(A, B)
    fit_transform_matrix(moments)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    options = parser(__doc__ or "", "transform", pairs=5)
    options.add_argument("--rows", type=int, default=16_000)
    options.add_argument("--hidden", type=int, default=2048)
    options.add_argument("--stream-rows", type=int, help="only stream this many rows and print the peak memory in MiB")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stream_rows:
        stream(arguments.stream_rows, arguments.hidden)
        return

    A, B = draw_rows(arguments.rows, arguments.hidden)
    A_numpy, B_numpy = A.numpy(), B.numpy()
    figures = {
        "streamed fit / lstsq": compare(
            lambda: np.linalg.lstsq(A_numpy, B_numpy, rcond=None),
            lambda: streamed_fit(A, B, arguments.device),
            arguments.pairs,
            warm_up=1,
        )
    }
    expected = np.linalg.lstsq(A_numpy.astype(np.float64), B_numpy.astype(np.float64), rcond=None)[0]
    differences = {
        f"ridge {ridge:g}": relative_difference(streamed_fit(A, B, arguments.device, ridge).matrix, expected)
        for ridge in (DEFAULT_RIDGE, 0.0)
    }
    memory = {rows: peak_memory_mib(rows, arguments.hidden) for rows in (2_048, 8_192, 32_768)}
    print("largest relative difference:", ", ".join(f"{name}: {value:.1e}" for name, value in differences.items()))
    print("peak memory:", ", ".join(f"{rows:,} rows: {mib:,.0f} MiB" for rows, mib in memory.items()))
    settings = {name: str(value) for name, value in vars(arguments).items()}
    settings |= {"relative_difference": differences, "peak_memory_mib": memory}
    title = f"Transform Matrix, {arguments.rows:,} x {arguments.hidden}: base is numpy.linalg.lstsq, new is the fit"
    report(title, figures, settings, arguments.output)


if __name__ == "__main__":
    main()
