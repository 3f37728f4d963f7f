"""The tiny models that come with the package, so that a quickstart spends its time on the pipeline.

They were made by `python -m cc_tuning.miniature.making DIR`, which anyone can repeat, of the world as its config has it
by default. A recipe that leaves the sizes of a tiny model as they are, keeps that world and brings no text of its own
gets the shipped one; any other recipe has its models trained by the stages, as `miniature.base_model.steps` says.

Weights are bfloat16 on disk; the manifest has the sha256 of every file, the configs, and the figures measured when the
models were made. This module is read by `plan` and `status`, so it imports nothing heavy.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig, WorldConfig
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import sha256_of_file

Kind = Literal["base_model", "translator"]

SHIPPED_MODELS = Path(__file__).with_name("models")
MANIFEST = "manifest.json"

# What a world's models never see: rows and items.
_UNTOLD = frozenset({"instruction_rows", "english_share", "items", "summary_items"})


def shipped_model(config: BaseModelConfig | TranslatorConfig, world: WorldConfig) -> Path | None:
    """The folder of the shipped model that stands for `config` in that world; None where it has to be trained."""
    kind: Kind = "base_model" if isinstance(config, BaseModelConfig) else "translator"
    is_default = config == type(config)() and told(world) == told(WorldConfig())
    return SHIPPED_MODELS / kind if is_default else None


def told(world: WorldConfig) -> dict[str, Any]:
    """What of a world's config decides the text of its models."""
    return world.model_dump(exclude=set(_UNTOLD))


def read_manifest(folder: Path = SHIPPED_MODELS) -> dict[str, Any]:
    """The manifest of shipped models."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of the models in `folder`, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in files
    }


def check_files(kind: Kind, folder: Path = SHIPPED_MODELS) -> None:
    """Refuse a shipped model whose files are not those of the manifest.

    Raises:
        ArtifactMismatch: a file is missing, damaged, or not named there.
    """
    recorded = {name: file for name, file in read_manifest(folder)["files"].items() if name.startswith(f"{kind}/")}
    found = {name: file for name, file in describe_files(folder).items() if name.startswith(f"{kind}/")}
    if wrong := _differing(recorded, found):
        raise ArtifactMismatch(
            f"{folder / kind}: {', '.join(wrong)} not as {MANIFEST} records; install the package again, or train the "
            f"model here by setting another miniature.{kind}.seed"
        )


def _differing(recorded: dict[str, Any], found: dict[str, Any]) -> Collection[str]:
    return sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
