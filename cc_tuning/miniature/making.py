"""Makes the models that come with the package: `python -m cc_tuning.miniature.making DIR`.

World, base model and translator are made by their stages, with more steps than a recipe waits for; weights are rounded
to bfloat16, unpacked again as a recipe unpacks them, and what those can do is measured on development and test facts.
DIR then holds what `cc_tuning/miniature/models` holds. Everything is seeded; on one kind of processor with one number
of threads the bytes are the same again, elsewhere they round differently and the figures are alike.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

from pydantic import BaseModel
from transformers import LlamaForCausalLM, M2M100ForConditionalGeneration

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

WORLD = WorldConfig()
BASE_MODEL = BaseModelConfig(steps=4_000)
TRANSLATOR = TranslatorConfig(steps=1_000)
_THREADS = 1


def make_models(folder: Path, world: WorldConfig, base_model: BaseModelConfig, translator: TranslatorConfig) -> None:
    """Fill `folder` with the packed models and their manifest; what was trained for them is not kept."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        seconds = {"world": _timed(build_world, world, {}, place / "world")}
        inputs = {"world": place / "world"}
        for kind, build, config, model_class in (
            ("base_model", build_base_model, base_model, LlamaForCausalLM),
            ("translator", build_translator, translator, M2M100ForConditionalGeneration),
        ):
            seconds[kind] = _timed(build, config, inputs, place / kind)
            pack(place / kind, folder / kind)
            unpack(model_class, folder / kind, place / "unpacked" / kind)
        figures = {
            "known_in_base_model": {
                items: known_answers(place / "unpacked" / "base_model", place / "world" / items)
                for items in (WORLD_DEVELOPMENT_ITEMS, WORLD_ITEMS)
            },
            "translator": read_json(place / "translator" / HELD_OUT_TRANSLATIONS),
        }
    write_json(
        folder / MANIFEST,
        {
            "made_by": "python -m cc_tuning.miniature.making",
            "world": told(world),
            "base_model": base_model.model_dump(),
            "translator": translator.model_dump(),
            "figures": figures,
            "cpu_seconds": seconds,
            "versions": library_versions(),
            "files": describe_files(folder),
        },
    )


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
    make_models(arguments.folder, WORLD, BASE_MODEL, TRANSLATOR)


if __name__ == "__main__":
    main()
