"""Seconds and peak memory of each form of the map at a size of your choice, from activations on disk.

    python benchmarks/transform_maps.py --pairs 20000 --layers 32 --hidden 4096     (the paper's size)

Rows are made up and written as the stage writes them, bfloat16, and each form is fitted in a process of its own, so
that its peak memory is its own. The arithmetic of each form is counted too: what a smaller size takes tells, with it,
what the full size would take on the same machine. R² within a language on held-out pairs is beside what theory says for
the planted rows, so that a fast fit that fits nothing would be seen.
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
from cc_tuning.transform.dual import needed_bytes
from cc_tuning.transform.fitting import fit_spooled
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool
from cc_tuning.transform.within import measure_within

FORMS: dict[str, dict[str, Any]] = {
    "paper": {},
    "per layer": {"matrix": "per_layer", "intercept": True, "ridge": 0.1},
    "per layer, folds": {"matrix": "per_layer", "intercept": True, "ridge": "cv"},
    "all layers, folds": {"features": "all_layers", "intercept": True, "ridge": "cv"},
}
LANGUAGES = ("swh_Latn", "yor_Latn", "hau_Latn", "amh_Ethi")
_BATCH = 64
_HELD_OUT = 256
_NOISE = 1.0


def fill(spool: ActivationSpool, pairs: int, layers: int, hidden_size: int) -> None:
    """Write planted rows: content shared by both sides, noise of the same size on each, a constant by layer."""
    draw = torch.Generator().manual_seed(0)
    constants = 5 * torch.randn(2, layers, hidden_size, generator=draw)

    def batches(count: int) -> Any:
        for first in range(0, count, _BATCH):
            rows = min(_BATCH, count - first)
            content = torch.randn(rows, layers, hidden_size, generator=draw)
            noise = _NOISE * torch.randn(2, rows, layers, hidden_size, generator=draw)
            own, english = (content + noise + constants[:, None]).bfloat16()
            yield ActivationBatch(own, english, torch.arange(first, first + rows))

    for split, count in ((FIT, pairs), (HELD_OUT, _HELD_OUT)):
        spool.fill(split, batches(count), pairs + _HELD_OUT, no_progress)


def sampled(pairs: int) -> list[SampledPair]:
    """Pairs of which each English prompt has four, one in each language."""
    return [
        SampledPair(str(n), [n], [n // 4], LANGUAGES[n % 4], LANGUAGES[n % 4]) for n in range(pairs)
    ]  # fmt: skip


def operations(config: FitConfig, pairs: int, layers: int, hidden_size: int) -> float:
    """Multiplications and additions of the largest steps: products of rows, and about 9 n³ for an eigendecomposition
    and 8 n³ for the products after it.
    """
    n, D = pairs, hidden_size
    decompositions = config.folds if config.ridge == "cv" else 0
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
    languages = {split: ["one"] * count for split, count in spool.pairs.items()}
    r2 = measure_within(spool, fit.transform, languages)["held_out_within_r2"]
    counted = operations(config, pairs, layers, hidden_size)
    figures |= {"r2": r2, "gflop": counted / 1e9, "gflops": counted / 1e9 / figures["seconds"]}
    return figures | {"parameters": fit.transform.parameters}


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
                f"{of['gflops']:.0f} GFLOP/s, R² {of['r2']:.3f}"
            )
    theory = 1 / (1 + _NOISE**2) ** 2
    print(f"R² of the planted rows with endless pairs and one map per layer: {theory:.3f}")
    print(f"a fit in the dual asks for {needed_bytes(*sizes, FitConfig().rank) / 2**20:,.0f} MiB")
    title = f"Maps of {sizes[0]:,} pairs x {sizes[1]} layers x {sizes[2]:,}, {arguments.threads} threads"
    settings = {"pairs": sizes[0], "layers": sizes[1], "hidden": sizes[2], "threads": arguments.threads}
    write_figures(
        arguments.output, {"title": title, "settings": settings, "machine": machine(), "figures": figures}
    )  # fmt: skip


if __name__ == "__main__":
    main()
