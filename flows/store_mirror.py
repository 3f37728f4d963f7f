"""What the commands of `cc-tuning store` do with a mirror."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.provenance import readable_bytes
from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion
from data_contracts.inventory import Entry, list_store, with_inputs
from data_contracts.mirror import Mirror
from data_contracts.store import ArtifactRef, ArtifactStore
from data_contracts.transfer import received_unless_sound
from flows.store_contents import chosen, inputs_first, opened
from flows.terminal import say


def push_artifacts(root: Path, url: str, names: Sequence[str], recipes: Sequence[Path], again: bool) -> bool:
    """Upload what is named, with what it was made from; whether something could not be uploaded.

    With `again` all of it, whole there or not.

    Raises:
        MirrorUnavailable: the mirror cannot be written.
    """
    store, mirror = opened(root), Mirror(url)
    entries = list_store(store)
    wanted = with_inputs(entries, chosen(entries, names, recipes))
    return _each(inputs_first(entries, wanted), lambda ref: mirror.push(ref, store, again=again), "pushed", mirror.url)


def fetch_artifacts(root: Path, url: str, names: Sequence[str], recipes: Sequence[Path]) -> bool:
    """Download what is named, with what it was made from; whether something could not be downloaded.

    A sound artifact of the store stays, also where it is another making.

    Raises:
        ConfigError: nothing is there.
        MirrorUnavailable: the mirror cannot be read.
    """
    store, mirror = ArtifactStore(root), Mirror(url)
    entries = _there(mirror)
    wanted = with_inputs(entries, chosen(entries, names, recipes))

    def fetch(ref: ArtifactRef) -> bool:
        def receive() -> None:
            if mirror.fetch(ref, store) is None:
                raise ArtifactMismatch(f"{mirror.url} has none")

        return received_unless_sound(ref, store, receive)

    return _each(inputs_first(entries, wanted), fetch, "fetched", str(store.root))


def show_mirror_faults(url: str, names: Sequence[str]) -> bool:
    """A line for each artifact of a mirror that is not whole, and one for pushes without an end; whether one is not.

    Raises:
        ConfigError: nothing is there.
        MirrorUnavailable: the mirror cannot be read.
    """
    mirror = Mirror(url)
    entries = _there(mirror)
    faults = 0
    for ref in chosen(entries, names, []):
        try:
            mirror.verify(ref)
        except (ArtifactMismatch, MadeByLaterVersion) as error:
            faults += 1
            say(f"{ref.stage} {ref.fingerprint[:12]}: {error}")
    if unfinished := [entry for entry in entries if entry.state == "left unfinished"]:
        size = readable_bytes(sum(entry.bytes for entry in unfinished))
        say(f"{len(unfinished)} artifacts have no manifest ({size}): pushes that did not end, or go on")
    say(
        "Every artifact of the mirror is whole."
        if not faults
        else f"Not whole: {faults}; `store push --again` mends them."
    )
    return bool(faults)


def _there(mirror: Mirror) -> tuple[Entry, ...]:
    """What the mirror has; a wrong address looks like an empty mirror, and must not pass for a whole one."""
    entries = mirror.entries()
    if not entries:
        raise ConfigError(
            f"{mirror.url} has no artifact; expected a mirror that something was pushed to: correct the address, or "
            "fill it by `cc-tuning store push --mirror`"
        )
    return entries


def _each(refs: Sequence[ArtifactRef], work: Callable[[ArtifactRef], bool], done: str, where: str) -> bool:
    """Do `work` for each artifact, say what came of it; whether one failed."""
    count = faults = 0
    for ref in refs:
        try:
            count += work(ref)
        except (ArtifactMismatch, MadeByLaterVersion) as error:
            faults += 1
            say(f"{ref.stage} {ref.fingerprint[:12]}: not {done}, because {error}")
    say(f"{count} artifacts {done}, {len(refs) - count - faults} were there, {faults} not {done}: {where}")
    return bool(faults)
