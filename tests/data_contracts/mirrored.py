"""What the tests of mirrors share: stores with a small chain of artifacts, and harm done to objects."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import fsspec

from data_contracts.mirror import Mirror
from data_contracts.store import ArtifactRef, ArtifactStore
from data_contracts.transfer import received_unless_sound
from tests.artifacts import finish, recorded

PUSH = """
import sys
from pathlib import Path
from data_contracts.mirror import Mirror
from data_contracts.store import ArtifactRef, ArtifactStore
url, root, stage, fingerprint = sys.argv[1:]
print("ready", flush=True)
Mirror(url).push(ArtifactRef(stage, fingerprint), ArtifactStore(Path(root)))
"""


def chain(store: ArtifactStore, rows: str = "rows") -> tuple[ArtifactRef, ArtifactRef]:
    """Rows and the pairs made from them; other `rows` are another making of the same two artifacts."""
    select = finish(store, "select", {"rows": rows, "sub/more": f"{rows} more", "sub/again": f"{rows} more"})
    return select, finish(store, "translate", {"pairs": f"pairs of {rows}"}, inputs={"rows": recorded(store, select)})


def fetch(mirror: Mirror, ref: ArtifactRef, store: ArtifactStore) -> bool:
    """Fetch an artifact unless a sound one is there; whether the mirror was asked and had it."""
    found = []
    asked = received_unless_sound(ref, store, lambda: found.append(mirror.fetch(ref, store)))
    return asked and found != [None]


def objects(url: str) -> Mapping[str, bytes]:
    """Every object below `url` with its bytes, by its path."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {name: files.cat_file(name) for name in sorted(files.find(root))}


def change(url: str, ending: str, by: Callable[[bytes], bytes | None]) -> None:
    """Replace the one object whose path ends in `ending` by what `by` makes of its bytes; None removes it."""
    files, _ = fsspec.core.url_to_fs(url)
    (name,) = (name for name in objects(url) if name.endswith(ending))
    content = by(files.cat_file(name))
    if content is None:
        files.rm_file(name)
    else:
        files.pipe_file(name, content)


def flipped(content: bytes) -> bytes:
    """With one bit of its last byte changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


def pushing(url: str, store: ArtifactStore, ref: ArtifactRef, **variables: Any) -> "subprocess.Popen[bytes]":
    """A process of its own that pushes an artifact, and has just begun."""
    command = [sys.executable, "-c", PUSH, url, str(store.root), ref.stage, ref.fingerprint]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **variables)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process
