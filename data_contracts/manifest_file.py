"""`manifest.json` on disk: written with a digest of itself, and read only as it was written.

The digest is the sha256 of the file's own text without the line of the digest, so no letter of it can change unseen.
Manifests of versions before the digest have none; they are read as they are, and what of them the fingerprint covers is
checked all the same.
"""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion
from data_contracts.files import json_text, kind_of_object, parsed_json, write_json
from data_contracts.fingerprint import fingerprint
from data_contracts.manifest import Manifest

MANIFEST = "manifest.json"
DIGEST = "digest"

LARGEST_BYTES = 64 << 20  # a record takes 200 bytes, so 300,000 files


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest` with its digest into `folder`, whole or not at all."""
    content = manifest.model_dump(mode="json", exclude={DIGEST})
    write_json(folder / MANIFEST, content | {DIGEST: _digest_of(content)})


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`.

    Raises:
        ArtifactMismatch: there is none, it is no file, or not what was written.
        MadeByLaterVersion: it has every key that this version knows, and others.
    """
    return manifest_of(_text(path), path)


def manifest_of(text: str, path: Path | str) -> Manifest:
    """The manifest with this text, which was read from `path`.

    Raises:
        ArtifactMismatch, MadeByLaterVersion: as of `read_manifest`.
    """
    content = parsed_json(text, path)
    known = Manifest.model_fields.keys()
    if isinstance(content, dict) and content.keys() > known:
        raise MadeByLaterVersion(
            f"{path} was written by a later version: this one does not know {sorted(content.keys() - known)}. It "
            "is left as it is; use that version, or another `execution.store`"
        )
    if isinstance(content, dict) and DIGEST in content:
        _check_digest(content, text, path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its top"
        raise ArtifactMismatch(
            f"{path} is not a manifest this version reads: {first['msg']} at {where} ({error.error_count()} faults)"
        ) from error


def check_identity(manifest: Manifest, stage: str, fingerprint_: str, folder: Path | str) -> None:
    """Refuse a manifest that is not that of the step whose artifact stands in `folder`.

    The fingerprint follows from stage, version, config and inputs, so it is computed again from what the manifest says
    of them.

    Raises:
        ArtifactMismatch: it is another step's, or says other things than its fingerprint was made of.
    """
    if (manifest.stage, manifest.fingerprint) != (stage, fingerprint_):
        raise ArtifactMismatch(
            f"{folder} holds the artifact {manifest.stage}/{manifest.fingerprint[:12]}…, expected "
            f"{stage}/{fingerprint_[:12]}…: it was put under another's name"
        )
    inputs = {name: _identity_of_input(name, recorded, folder) for name, recorded in manifest.inputs.items()}
    computed = fingerprint(manifest.stage, manifest.version, manifest.config, inputs)
    if computed != fingerprint_:
        raise ArtifactMismatch(
            f"{folder}/{MANIFEST} says a version, config or inputs whose fingerprint is {computed[:12]}…, expected "
            f"{fingerprint_[:12]}…: it was changed"
        )


def _identity_of_input(name: str, recorded: dict[str, str], folder: Path | str) -> str:
    match recorded:
        case {"stage": stage, "fingerprint": made_from}:
            return "/".join(part for part in (stage, made_from, recorded.get("subpath", "")) if part)
        case {"sha256": digest}:
            return f"sha256:{digest}"
        case {"hub": repository, "revision": revision}:
            return f"hub:{repository}@{revision}"
    raise ArtifactMismatch(f"{folder}/{MANIFEST} does not say what its input '{name}' was: got {sorted(recorded)}")


def _text(path: Path) -> str:
    if (kind := kind_of_object(path, follow=False)) != "file":
        found = "is missing" if kind == "nothing" else f"is a {kind}, expected a file"
        raise ArtifactMismatch(f"{path} {found}; run the stage that writes it again")
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise ArtifactMismatch(f"{path} has {size} bytes, expected at most {LARGEST_BYTES}: it is no manifest")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactMismatch(f"{path} is not UTF-8 ({error}); run its stage again") from error


def _check_digest(content: dict[str, Any], text: str, path: Path | str) -> None:
    found = _digest_of({name: value for name, value in content.items() if name != DIGEST})
    if found != content[DIGEST] or json_text(content) != text:
        raise ArtifactMismatch(
            f"{path} was changed after it was written: its digest is {found[:12]}…, "
            f"it says {str(content[DIGEST])[:12]}…"
        )


def _digest_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json_text(content).encode("utf-8")).hexdigest()
