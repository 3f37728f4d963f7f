"""What the commands of `cc-tuning store` do."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.runtime.provenance import readable_bytes
from data_contracts.errors import ArtifactMismatch, DataContractError
from data_contracts.inventory import (
    Entry,
    find_artifacts,
    list_store,
    needed_by,
    pin,
    removable,
    remove,
    with_inputs,
)
from data_contracts.store import ArtifactRef, ArtifactStore
from data_contracts.transfer import transfer
from flows.terminal import console, escaped, say


def show_store(root: Path, as_json: bool) -> None:
    """A line per artifact: size, age, state, and what was made from it."""
    entries = list_store(opened(root))
    needs = needed_by(entries)
    if as_json:
        for entry in entries:
            console.out(json.dumps(_as_json(entry, needs.get(entry.ref, ()))))
        return
    labels = {entry.ref: entry.label or entry.ref.stage for entry in entries}
    table = Table("artifact", "fingerprint", "size", "days", "state", "needed by", box=None, pad_edge=False)
    for entry in entries:
        users = ", ".join(dict.fromkeys(labels[ref] for ref in needs.get(entry.ref, ())))
        state = f"{entry.state}, pinned" if entry.is_pinned else entry.state
        size = readable_bytes(entry.bytes)
        name = escaped(entry.label or entry.ref.stage)
        table.add_row(name, entry.ref.fingerprint[:12], size, f"{_days(entry):.1f}", state, escaped(users))
    console.print(table)
    say(f"{len(entries)} artifacts, {readable_bytes(sum(entry.bytes for entry in entries))} in {root}")


def show_faults(root: Path, names: Sequence[str]) -> bool:
    """A line for each artifact that is not whole; whether there is one."""
    store = opened(root)
    faults = 0
    for ref in chosen(list_store(store), names, []):
        try:
            store.verify(ref)
        except DataContractError as error:
            faults += 1
            say(f"{ref.stage} {ref.fingerprint[:12]}: {error}")
    say("Every artifact is whole." if not faults else f"Not whole: {faults}; a run makes them again.")
    return bool(faults)


def collect_garbage(root: Path, older_than_days: float, recipes: Sequence[Path], really: bool) -> None:
    """Remove, or only list, what nobody needs."""
    store = opened(root)
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    freed = 0
    for entry in removable(list_store(store), of_recipes(recipes), before):
        if really and not remove(store, entry.ref):
            say(f"{entry.ref.stage} {entry.ref.fingerprint[:12]}: in use, left alone")
            continue
        freed += entry.bytes
        say(f"{entry.ref.stage} {entry.ref.fingerprint[:12]}: {readable_bytes(entry.bytes)}, {_days(entry):.1f} days")
    say(f"{readable_bytes(freed)} {'removed' if really else 'would be removed; --yes removes them'}")


def pin_artifacts(root: Path, names: Sequence[str], recipes: Sequence[Path], pinned: bool) -> None:
    """Pin what is named, or no longer.

    Raises:
        ConfigError: nothing is named.
    """
    if not names and not recipes:
        raise ConfigError("name the artifacts to pin, or a --recipe; `cc-tuning store ls` lists them")
    store = opened(root)
    refs = chosen(list_store(store), names, recipes)
    for ref in refs:
        pin(store, ref, pinned=pinned)
    say(f"{len(refs)} artifacts {'are pinned' if pinned else 'are no longer pinned'}")


def copy_artifacts(source_root: Path, target_root: Path, names: Sequence[str], recipes: Sequence[Path]) -> bool:
    """Copy what is named, with what it was made from; whether something could not be copied."""
    source, target = opened(source_root), ArtifactStore(target_root)
    entries = list_store(source)
    wanted = with_inputs(entries, chosen(entries, names, recipes))
    copied = faults = 0
    for ref in inputs_first(entries, wanted):
        try:
            copied += transfer(ref, source, target)
        except ArtifactMismatch as error:
            faults += 1
            say(f"{ref.stage} {ref.fingerprint[:12]}: not copied, because {error}")
    there = len(wanted) - copied - faults
    say(f"{copied} artifacts copied, {there} were there, {faults} not copied: {target.root}")
    return bool(faults)


def inputs_first(entries: Sequence[Entry], wanted: frozenset[ArtifactRef]) -> list[ArtifactRef]:
    """`wanted`, each after everything that it was made from."""
    return sorted(wanted, key=lambda ref: (len(with_inputs(entries, [ref])), ref.identity))


def chosen(entries: Sequence[Entry], names: Sequence[str], recipes: Sequence[Path]) -> list[ArtifactRef]:
    """The finished artifacts that are named or of a recipe; without either all of them."""
    finished = [entry for entry in entries if entry.state in ("finished", "unreadable")]
    if not names and not recipes:
        return [entry.ref for entry in finished]
    there = {entry.ref for entry in finished}
    named = [ref for name in names for ref in find_artifacts(finished, name)]
    return list(dict.fromkeys([*named, *(ref for ref in of_recipes(recipes) if ref in there)]))


def of_recipes(recipes: Sequence[Path]) -> list[ArtifactRef]:
    """Every artifact of the recipes, there or not."""
    return [step.ref for recipe in recipes for step in plan_recipe(load_recipe(recipe))]


def opened(root: Path) -> ArtifactStore:
    """The store in a folder that is there.

    Raises:
        ConfigError: it is not.
    """
    if not root.is_dir():
        raise ConfigError(f"{root.absolute()} is no store; check --store")
    return ArtifactStore(root)


def _days(entry: Entry) -> float:
    return (datetime.now(UTC) - entry.used_at).total_seconds() / 86_400


def _as_json(entry: Entry, users: tuple[ArtifactRef, ...]) -> dict[str, object]:
    return {
        "stage": entry.ref.stage, "fingerprint": entry.ref.fingerprint, "label": entry.label, "bytes": entry.bytes,
        "used_at": entry.used_at.isoformat(timespec="seconds"), "state": entry.state, "pinned": entry.is_pinned,
        "needed_by": [ref.identity for ref in users],
    }  # fmt: skip
