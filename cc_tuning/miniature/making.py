"""Makes the models that come with the package: `python -m cc_tuning.miniature.making DIR`.

World, base model and translator are made by their stages, the translator with more steps than a recipe waits for;
weights are rounded to bfloat16, and what the base model knows then is measured on development and test facts.
DIR then holds what `cc_tuning/miniature/models` holds. Everything is seeded; on one kind of processor with one number
of threads the bytes are the same again, elsewhere they round differently and the figures are alike.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from pydantic import BaseModel
from transformers import LlamaForCausalLM

from cc_tuning.miniature.base_model import build_base_model
from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig, WorldConfig
from cc_tuning.miniature.knowledge import known_answers
from cc_tuning.miniature.shipped import MANIFEST, SHIPPED_MODELS, describe_files, told
from cc_tuning.miniature.shipping import pack, unpack
from cc_tuning.miniature.translator import build_translator
from cc_tuning.miniature.world import build_world
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import logged_progress
from cc_tuning.runtime.provenance import library_versions
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from data_contracts.files import read_json, write_json
from data_contracts.layout import HELD_OUT_TRANSLATIONS, WORLD_DEVELOPMENT_ITEMS, WORLD_ITEMS
from data_contracts.manifest import RowCounts

_THREADS = 1


@dataclass(frozen=True)
class Configs:
    """What models are made with."""

    world: WorldConfig
    base_model: BaseModelConfig
    translator: TranslatorConfig


SHIPPED = Configs(
    WorldConfig(items=250), BaseModelConfig(steps=2_000, practice_steps=500), TranslatorConfig(steps=1_000)
)


def make_models(folder: Path, configs: Configs = SHIPPED) -> None:
    """Fill `folder` with the packed models and their manifest; what was trained for them is not kept."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        world = {"world": place / "world"}
        seconds = {
            "world": _timed(build_world, configs.world, {}, place / "world"),
            "base_model": _timed(build_base_model, configs.base_model, world, place / "base_model"),
            "translator": _timed(build_translator, configs.translator, world, place / "translator"),
        }
        pack_models(place, folder, configs, seconds)


def pack_models(made: Path, folder: Path, configs: Configs, cpu_seconds: Mapping[str, float]) -> None:
    """Pack what the three stages left in folders of `made` named as they are, measure it, and write the manifest."""
    pack(made / "base_model", folder / "base_model")
    pack(made / "translator", folder / "translator")
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(LlamaForCausalLM, folder / "base_model", Path(unpacked))
        known = {
            items: known_answers(Path(unpacked), made / "world" / items)
            for items in (WORLD_DEVELOPMENT_ITEMS, WORLD_ITEMS)
        }
    manifest = {
        "made_by": "python -m cc_tuning.miniature.making",
        "world": told(configs.world),
        "base_model": configs.base_model.model_dump(),
        "translator": configs.translator.model_dump(),
        "open_questions_known_to_base_model": known,
        "held_out_sentences_of_translator": read_json(made / "translator" / HELD_OUT_TRANSLATIONS),
        "cpu_seconds": dict(cpu_seconds),
        "versions": library_versions(),
        "files": describe_files(folder),
    }
    write_json(folder / MANIFEST, manifest)


def _timed(build: Callable[[Build[Any]], RowCounts], config: BaseModel, inputs: Mapping[str, Path], to: Path) -> float:
    """Build a stage's folder; the CPU seconds that it took."""
    to.mkdir(parents=True)
    started = process_time()
    locations = {name: Location(str(path)) for name, path in inputs.items()}
    build(Build(config, locations, to, Execution(device="cpu", threads=_THREADS), logged_progress(to.name)))
    return round(process_time() - started, 1)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m cc_tuning.miniature.making", description=__doc__)
    parser.add_argument("folder", type=Path, help=f"Where the models go; those of the package are in {SHIPPED_MODELS}.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_models(arguments.folder)


if __name__ == "__main__":
    main()
