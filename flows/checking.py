"""The check of a recipe, as a command of its own and before whatever makes something."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.unused import unused_keys
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.mirroring import in_mirror
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactStore
from flows.terminal import MISTAKE, say


def show_findings(recipe: Path, overrides: Sequence[str]) -> int:
    """Print a line for everything that is wrong with a recipe's files, models and settings; returns the exit code.

    Keys that nothing reads are named as well, and stop nothing.
    """
    from cc_tuning.pipeline.preflight import find_faults

    planned = plan_recipe(load_recipe(recipe, overrides), sources_may_be_missing=True, hash_sources=False)
    found = find_faults(planned, planned.recipe.execution)
    for finding in found:
        say(f"- {finding}")
    for reason, keys in unused_keys(planned.recipe).items():
        say(f"- {', '.join(keys)}: nothing reads {'it' if len(keys) == 1 else 'them'}, {reason}")
    if found:
        return MISTAKE
    say("Nothing found that would stop a stage: files, models and settings are such that every one can start.")
    return 0


def check_before(steps: Iterable[Step], store: ArtifactStore, execution: Execution, again: str = "") -> None:
    """Refuse to start where something is known that would stop one of the steps that are to be made.

    Where the store or its mirror has them all nothing is looked at, and nothing heavy is loaded.

    Raises:
        ConfigError: with all findings.
        MirrorUnavailable: the mirror cannot be reached, and the store lacks something.
    """
    steps = list(steps)
    mirrored = in_mirror([step.ref for step in steps if not store.is_there(step.ref)], execution)
    there = {step.ref for step in steps if store.is_there(step.ref)} | mirrored
    to_make = [step for step in steps if step.stage.name == again or step.ref not in there]
    if to_make:
        from cc_tuning.pipeline.preflight import require_sound

        require_sound(to_make, execution)
