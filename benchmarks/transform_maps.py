"""Seconds and peak memory of each form of the map at a size of your choice, from activations on disk.

    python benchmarks/transform_maps.py --forms "all layers, landmarks" --pairs 20000 --layers 32 --hidden 4096

is the size of an 8B model with all the pairs of the paper's training set. Rows are made up and written as the stage
writes them, bfloat16, and each form is fitted in a process of its own, so that its peak memory is its own. The
arithmetic of each form is counted too: what a smaller size takes tells, with it, what the full size would take on the
same machine. R² on held-out pairs is beside what theory says for the planted rows, so that a fast fit that fits nothing
would be seen.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import machine, parser, write_figures
from transform import peak_memory_mib

from cc_tuning.runtime.progress import no_progress
from cc_tuning.transform.activations import ActivationBatch, SampledPair
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.dual_memory import needed_bytes
from cc_tuning.transform.fitting import FittedTransform, fit_spooled
from cc_tuning.transform.landmarks import EXTRA_DIRECTIONS
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool

FORMS: dict[str, dict[str, Any]] = {
    "paper": {},
    "per layer": {"matrix": "per_layer", "intercept": True, "ridge": 0.1},
    "per layer, folds": {"matrix": "per_layer", "intercept": True, "ridge": "cv"},
    "all layers, folds": {"features": "all_layers", "intercept": True, "ridge": "cv"},
    "all layers, landmarks": {"features": "all_layers", "intercept": True, "ridge": "cv", "kernel": "landmarks"},
}
LANGUAGES = ("swh_Latn", "yor_Latn", "hau_Latn", "amh_Ethi")
_BATCH = 64
_HELD_OUT = 256
_LATENT = 64
"""Directions of a prompt's content; its variance in every feature is that of the noise, 1."""


def fill(spool: ActivationSpool, pairs: int, layers: int, hidden_size: int) -> None:
    """Write planted rows: content that both sides of all layers have, in directions of their own; noise; a constant."""
    draw = torch.Generator().manual_seed(0)
    constants = 5 * torch.randn(2, layers * hidden_size, generator=draw)
    directions = torch.randn(2, _LATENT, layers * hidden_size, generator=draw) / _LATENT**0.5

    def batches(count: int) -> Any:
        for first in range(0, count, _BATCH):
            rows = min(_BATCH, count - first)
            content = torch.randn(rows, _LATENT, generator=draw)
            sides = torch.randn(2, rows, layers * hidden_size, generator=draw)
            for side in range(2):
                sides[side].addmm_(content, directions[side]).add_(constants[side])
            own, english = sides.bfloat16().unflatten(2, (layers, hidden_size))
            yield ActivationBatch(own, english, torch.arange(first, first + rows))

    for split, count in ((FIT, pairs), (HELD_OUT, _HELD_OUT)):
        spool.fill(split, batches(count), pairs + _HELD_OUT, no_progress)


def theory(config: FitConfig, layers: int, hidden_size: int) -> float:
    """R² of the planted rows with endless pairs: half of the variance is content, of which noisy features tell
    P / (P + latent) (the posterior of a Gaussian with P / latent times the noise's precision in each direction).
    """
    features = hidden_size * (layers if config.features == "all_layers" else 1)
    return 0.5 * features / (features + _LATENT)


def held_out_r2(spool: ActivationSpool, fit: FittedTransform) -> float:
    """1 − ‖prediction − B‖² / ‖B − mean‖², the mean by layer; the noise of the mean is taken out."""
    transform = fit.transform.to("cpu", torch.float64)
    rows = [(batch.activations, batch.english_activations.double()) for batch in spool.batches(HELD_OUT)]
    errors = sum(float((transform.apply(own.double()) - english).square().sum()) for own, english in rows)
    mean = torch.cat([english for _, english in rows]).mean(0)
    spread = sum(float((english - mean).square().sum()) for _, english in rows) * _HELD_OUT / (_HELD_OUT - 1)
    return 1 - errors / spread


def sampled(pairs: int) -> list[SampledPair]:
    """Pairs of which each English prompt has four, one in each language."""
    return [
        SampledPair(str(n), [n], [n // 4], LANGUAGES[n % 4], LANGUAGES[n % 4]) for n in range(pairs)
    ]  # fmt: skip


def operations(config: FitConfig, pairs: int, layers: int, hidden_size: int) -> float:
    """Multiplications and additions of the largest steps: products of rows, about 9 n³ for an eigendecomposition and
    8 n³ for the products after it, and with landmarks what is done with coordinates.
    """
    n, D = pairs, hidden_size
    decompositions = config.folds if config.ridge == "cv" else 0
    if config.kernel == "landmarks":
        m = min(config.landmarks, n)
        return (2 * m + 6 * (config.rank + EXTRA_DIRECTIONS)) * n * layers * D + (decompositions + 2) * 4 * n * m**2
    if config.features != "layer":
        return 2 * 2 * n**2 * layers * D + (decompositions + 2) * 17 * n**3
    matrices = layers if config.matrix == "per_layer" else 1
    return 3 * n * layers * D**2 + matrices * (7 / 3 * D**3 + decompositions * 17 * D**3)


def fit_one(folder: Path, form: str, pairs: int, layers: int, hidden_size: int) -> dict[str, Any]:
    """What is measured of one form, in this process."""
    spool = ActivationSpool(folder, layers, hidden_size, torch.device("cpu"))
    spool.pairs = {FIT: pairs, HELD_OUT: _HELD_OUT}
    config = FitConfig.model_validate(FORMS[form])
    imported, started, cpu = peak_memory_mib(), time.perf_counter(), time.process_time()
    fit = fit_spooled(spool, config, sampled(pairs))
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    figures |= {"peak_memory_mib": peak_memory_mib(), "of_which_imports_mib": imported}
    figures |= {"r2": held_out_r2(spool, fit), "theory": theory(config, layers, hidden_size)}
    counted = operations(config, pairs, layers, hidden_size)
    figures |= {"gflop": counted / 1e9, "gflops": counted / 1e9 / figures["seconds"]}
    needed = needed_bytes(config, pairs, layers, hidden_size) if config.features != "layer" else 0
    return figures | {"parameters": fit.transform.parameters, "needed_mib": needed / 2**20}


def main() -> None:
    options = parser(__doc__ or "", "transform_maps", pairs=1000)
    options.add_argument("--layers", type=int, default=8)
    options.add_argument("--hidden", type=int, default=512)
    options.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options.add_argument("--one", nargs=2, metavar=("FOLDER", "FORM"), help="only fit this form and print the figures")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = (arguments.pairs, arguments.layers, arguments.hidden)
    if arguments.one:
        print(json.dumps(fit_one(Path(arguments.one[0]), arguments.one[1], *sizes)))
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="maps.") as name:
        folder = Path(name) / "rows"
        fill(ActivationSpool(folder, *sizes[1:], torch.device("cpu")), *sizes)
        for form in arguments.forms:
            command = [sys.executable, __file__, "--one", str(folder), form, "--threads", str(arguments.threads)]
            command += [f"--{option}={size}" for option, size in zip(("pairs", "layers", "hidden"), sizes, strict=True)]
            figures[form] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            of = figures[form]
            print(
                f"{form}: {of['seconds']:.1f} s ({of['cpu_seconds']:.1f} CPU), {of['peak_memory_mib']:,.0f} MiB "
                f"({of['of_which_imports_mib']:,.0f} of it imports), {of['gflop']:,.0f} GFLOP counted at "
                f"{of['gflops']:.0f} GFLOP/s, R² {of['r2']:.3f} of {of['theory']:.3f}; "
                f"{of['needed_mib']:,.0f} MiB are asked for"
            )
    title = f"Maps of {sizes[0]:,} pairs x {sizes[1]} layers x {sizes[2]:,}, {arguments.threads} threads"
    settings = {"pairs": sizes[0], "layers": sizes[1], "hidden": sizes[2], "threads": arguments.threads}
    write_figures(
        arguments.output, {"title": title, "settings": settings, "machine": machine(), "figures": figures}
    )  # fmt: skip


if __name__ == "__main__":
    main()
