"""All that waits for a GPU, for a machine that is there for minutes: `python benchmarks/gpu.py --minutes 9`.

Parts run in order of worth, each in a process of its own that is killed at its limit, so that one that hangs costs its
share only. A limit is the part's share of the time that is left: what a part does not use goes to the later ones.
Every figure is printed, and written to the part's JSON file, when it is measured.

No network, no installation of this repository, and no package but torch, transformers, accelerate, safetensors, numpy,
pydantic and what these bring. On a CPU, `--shape tiny` runs every part in miniature, to see that all of it works.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_parts.options import PARTS, Options, Part, add_options

BENCHMARKS = Path(__file__).resolve().parent


def environment() -> dict[str, str]:
    """Variables under which a child finds the parts and the library in this source tree."""
    paths = [str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]
    settings = {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **settings, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run_part(part: Part, options: Options, limit: float) -> str:
    """Run one part for at most `limit` seconds; how it ended, for people."""
    # -P: modules of the working directory stay out of the way.
    command = [sys.executable, "-P", "-m", "gpu_parts", part.name, *options.as_arguments()]
    command += ["--until", str(time.time() + limit)]
    child = subprocess.Popen(command, env=environment(), start_new_session=True)
    try:
        code = child.wait(limit)
    except subprocess.TimeoutExpired:
        return f"killed at its limit of {limit:.0f} s"
    finally:
        _end(child)
    return "finished" if code == 0 else f"failed with code {code}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child and of its own children."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def parts_of(options: Options, only: list[str]) -> list[Part]:
    """The parts to run: those asked for, without the one that needs a model when none was given."""
    asked = [part for part in PARTS if not only or part.name in only]
    return [part for part in asked if options.model is not None or not part.needs_model]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=9, help="for all parts together")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], default=[], metavar="PART")
    arguments: Any = parser.parse_args()
    options = Options.of(arguments)
    deadline = time.monotonic() + 60 * arguments.minutes
    parts, ended = parts_of(options, arguments.only), {}
    if not parts:
        parser.error(f"nothing to run of {arguments.only}: give --model and --rows")
    for place, part in enumerate(parts):
        shares = [later.share for later in parts[place:]]
        limit = max(deadline - time.monotonic(), 0) * part.share / sum(shares)
        print(f"== {part.name}: {part.title}, at most {limit:.0f} s", flush=True)
        started = time.monotonic()
        ended[part.name] = run_part(part, options, limit)
        print(f"== {part.name} {ended[part.name]} after {time.monotonic() - started:.0f} s\n", flush=True)
    for name, how in ended.items():
        print(f"{name:<12} {how:<32} {options.file_of(name)}")
    sys.exit(any(how != "finished" for how in ended.values()))


if __name__ == "__main__":
    main()
