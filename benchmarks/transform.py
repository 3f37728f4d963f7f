"""The streamed fit of the Transform Matrix against `numpy.linalg.lstsq` on all rows at once.

Same float32 rows for both; the fit gets them in batches, as from the model. Both solve in float64. Also measured: how
far the two results are apart, and the peak memory of a process that streams fewer or more rows.

`--full-size` measures the fit at the paper's size instead, 32,000 rows (1,000 pairs, 32 layers) of 4,096, in a process
of its own: seconds of the sums and of the solution, peak memory, and how far the result is from the true matrix.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import compare, machine, parser, report, write_figures
from torch import Tensor

from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import DEFAULT_RIDGE, TransformFit, fit_transform_matrix

BATCH_ROWS = 512  # 16 prompts of a model with 32 layers
FULL_ROWS, FULL_HIDDEN = 32_000, 4096


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


def streamed_apart(rows: int, hidden_size: int, threads: int, device: str) -> dict[str, float]:
    """What `stream` measures, in a fresh process: its peak memory is then that of the fit."""
    command = [sys.executable, __file__, "--stream-rows", str(rows), "--hidden", str(hidden_size)]
    command += ["--threads", str(threads), "--device", device]
    figures: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return figures


def stream(rows: int, hidden_size: int, device: str) -> dict[str, float]:
    """Seconds, peak memory (MiB, that of the GPU apart) and error of a fit with no more rows in memory than one batch.

    B is A with its columns moved by one place, so that the true matrix is a permutation: any larger part of it than
    the ridge (1e-6) that is not found is an error.
    """
    imported = peak_memory_mib()
    draw, drawing, started = torch.Generator().manual_seed(0), 0.0, time.perf_counter()
    moments = StreamingMoments(hidden_size, device)
    for first in range(0, rows, BATCH_ROWS):
        before = time.perf_counter()
        A = torch.randn(min(BATCH_ROWS, rows - first), hidden_size, generator=draw)
        B = A.roll(1, dims=1)
        drawing += time.perf_counter() - before
        moments.update(A.to(device), B.to(device))
    assert bool(moments.gram[0, 0] > 0)  # the last rows are multiplied, and a GPU is done
    summed = time.perf_counter()
    fit = fit_transform_matrix(moments)
    figures = {
        "seconds_sums": summed - started - drawing,
        "seconds_solution": time.perf_counter() - summed,
        "peak_memory_mib": peak_memory_mib(),
        "of_which_imports_mib": imported,
    }
    if device != "cpu":
        figures["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    difference = fit.matrix.roll(-1, dims=1)
    difference.diagonal().sub_(1)
    return figures | {"largest_error_of_an_element": float(difference.abs().max())}


def peak_memory_mib() -> float:
    """The peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_full_size(threads: int, device: str, output: Path) -> None:
    """Print and write the figures of one fit at the paper's size."""
    figures: dict[str, Any] = streamed_apart(FULL_ROWS, FULL_HIDDEN, threads, device)
    seconds = figures["seconds_sums"] + figures["seconds_solution"]
    n, D = FULL_ROWS, FULL_HIDDEN
    # AᵀA (one triangle) and AᵀB; Cholesky and two triangular solves
    operations = {"sums": 3 * n * D**2, "solution": D**3 / 3 + 2 * D**3}
    figures |= {f"gflops_{name}": of / figures[f"seconds_{name}"] / 1e9 for name, of in operations.items()}
    title = f"Transform Matrix at full size, {n:,} x {D:,} in float64 on {device}, {threads} threads"
    print(title)
    print(
        f"{seconds:.1f} s: sums {figures['seconds_sums']:.1f} s ({figures['gflops_sums']:.0f} GFLOP/s), solution "
        f"{figures['seconds_solution']:.1f} s ({figures['gflops_solution']:.0f} GFLOP/s)"
    )
    print(
        f"peak memory {figures['peak_memory_mib']:,.0f} MiB, {figures['of_which_imports_mib']:,.0f} MiB of it before "
        f"the first row; largest error of an element {figures['largest_error_of_an_element']:.1e}"
    )
    settings = {"rows": n, "hidden": D, "threads": threads, "device": device, "batch_rows": BATCH_ROWS}
    write_figures(output, {"title": title, "settings": settings, "machine": machine(), "figures": figures})


def main() -> None:
    options = parser(__doc__ or "", "transform", pairs=5)
    options.add_argument("--rows", type=int, default=16_000)
    options.add_argument("--hidden", type=int, default=2048)
    options.add_argument("--full-size", action="store_true", help="measure the fit of 32,000 rows of 4,096 instead")
    options.add_argument("--stream-rows", type=int, help="only stream this many rows and print what was measured")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stream_rows:
        print(json.dumps(stream(arguments.stream_rows, arguments.hidden, arguments.device)))
        return
    if arguments.full_size:
        output = arguments.output.with_stem(arguments.output.stem + "_full_size")
        measure_full_size(arguments.threads, arguments.device, output)
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
    memory = {
        rows: streamed_apart(rows, arguments.hidden, arguments.threads, "cpu")["peak_memory_mib"]
        for rows in (2_048, 8_192, 32_768)
    }
    print("largest relative difference:", ", ".join(f"{name}: {value:.1e}" for name, value in differences.items()))
    print("peak memory:", ", ".join(f"{rows:,} rows: {mib:,.0f} MiB" for rows, mib in memory.items()))
    settings = {name: str(value) for name, value in vars(arguments).items()}
    settings |= {"relative_difference": differences, "peak_memory_mib": memory}
    title = f"Transform Matrix, {arguments.rows:,} x {arguments.hidden}: base is numpy.linalg.lstsq, new is the fit"
    report(title, figures, settings, arguments.output)


if __name__ == "__main__":
    main()
