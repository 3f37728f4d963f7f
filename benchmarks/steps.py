"""The steps of a recipe in this process, without Prefect, and how long each took.

    python benchmarks/steps.py RECIPE [--run NAME ...] [--stage NAME] [--set KEY=VALUE ...] [--output FILE]

Only what the stages themselves import has to be installed. Several of these may run at once on one store, say for the
runs of a recipe that share a GPU: a step that two of them ask for is made by one.
"""

import argparse
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import timing
import torch

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import logged_progress
from cc_tuning.runtime.step import Step, run_step
from data_contracts.files import write_json
from data_contracts.store import ArtifactStore


def steps_of(plan: Plan, runs: Iterable[str], stage: str | None) -> list[Step]:
    """The steps up to `stage`, or all, of the runs that are named, or of all; inputs first, each once."""
    names = tuple(runs)
    if stage is not None:
        wanted = [step for name in names or (None,) for step in plan.up_to(stage, name)]
    else:
        wanted = [step for name in names for run in plan.of_run(name) for step in run.steps] if names else list(plan)
    return list({step.ref: step for step in wanted}.values())


def make(steps: Iterable[Step], execution: Execution, output: Path) -> None:
    """Make each step; a line and a row of `output` for each as it ends."""
    store = ArtifactStore(execution.store)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    rows: list[dict[str, object]] = []
    for step in steps:
        started = time.monotonic()
        outcome = run_step(step, store, execution, logged_progress(step.label))
        seconds = time.monotonic() - started
        rows.append({"step": step.label, "seconds": seconds, "cached": outcome.was_cached})
        print(f"{step.label:<34} {seconds:8.1f} s{'  cached' if outcome.was_cached else ''}", flush=True)
        write_json(output, {"card": card, "machine": timing.machine(), "steps": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--run", nargs="+", default=[], metavar="NAME", help="only these runs, without the report")
    parser.add_argument("--stage", help="only what this stage needs, itself included")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/steps.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s | %(message)s")
    settings = load_recipe(arguments.recipe, arguments.set)
    steps = steps_of(plan_recipe(settings), arguments.run, arguments.stage)
    make(steps, settings.execution, arguments.output)


if __name__ == "__main__":
    main()
