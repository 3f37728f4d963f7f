"""The models that come with the package: what their manifest says, what they can do, and which recipes get them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig, WorldConfig
from cc_tuning.miniature.knowledge import known_answers
from cc_tuning.miniature.making import SHIPPED, Configs, make_models
from cc_tuning.miniature.shipped import SHIPPED_MODELS, check_files, describe_files, read_manifest, shipped_model, told
from cc_tuning.miniature.shipping import pack, unpack
from cc_tuning.miniature.world import build_world
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.recipe import Recipe
from data_contracts.errors import ArtifactMismatch
from tests.miniature.conftest import SMALL, make_build
from tests.miniature.test_models import SMALLEST_BASE, SMALLEST_TRANSLATOR

_MOST_BYTES = 8_000_000
_SMALLEST = Configs(SMALL, SMALLEST_BASE, SMALLEST_TRANSLATOR)
# The items do not depend on the text for the models, of which there need not be much.
_WORLD_OF_ITEMS = WorldConfig(
    items=SHIPPED.world.items, summary_items=1, instruction_rows=1, pairs_per_language=1, exercises=1, tellings=1
)
_RECIPE = {
    "name": "x",
    "model": {"base": "miniature"},
    "data": {"source": "miniature"},
    "translation": {"model": "miniature"},
}


def test_files_are_those_of_the_manifest_and_small() -> None:
    check_files("base_model")
    check_files("translator")
    assert sum(file["bytes"] for file in read_manifest()["files"].values()) <= _MOST_BYTES


def test_manifest_tells_the_configs_that_the_command_makes_them_with() -> None:
    manifest = read_manifest()
    assert manifest["world"] == told(SHIPPED.world)
    assert manifest["base_model"] == SHIPPED.base_model.model_dump()
    assert manifest["translator"] == SHIPPED.translator.model_dump()


def test_shipped_base_model_knows_what_the_manifest_says_and_most_of_it_in_english(tmp_path: Path) -> None:
    build_world(make_build(_WORLD_OF_ITEMS, {}, tmp_path / "world"))
    unpack(LlamaForCausalLM, SHIPPED_MODELS / "base_model", tmp_path / "base")
    known = known_answers(tmp_path / "base", tmp_path / "world" / "benchmarks")
    # Other processors round differently, which turns an answer here and there.
    assert known == pytest.approx(read_manifest()["open_questions_known_to_base_model"]["benchmarks"], abs=0.02)
    assert known.pop("en") > 0.9
    assert max(known.values()) < 0.25


@pytest.mark.parametrize("kind", ["base_model", "translator"])
def test_damaged_shipped_model_is_refused(kind: str, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED_MODELS, tmp_path / "models")
    weights = tmp_path / "models" / kind / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-7] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ArtifactMismatch, match=rf"{kind}/model.safetensors not as manifest.json records"):
        check_files(kind, tmp_path / "models")  # type: ignore[arg-type]


def test_weights_come_back_rounded_to_bfloat16_in_float32(small_models: Path, tmp_path: Path) -> None:
    unpack(LlamaForCausalLM, small_models / "base_model", tmp_path / "base")
    packed = load_file(small_models / "base_model" / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype="auto")
    assert {tensor.dtype for tensor in packed.values()} == {torch.bfloat16}
    for name, tensor in loaded.state_dict().items():
        if name in packed:
            assert tensor.dtype == torch.float32 and torch.equal(tensor, packed[name].float())
    pack(tmp_path / "base", tmp_path / "again")
    again = describe_files(tmp_path / "again")["model.safetensors"]
    assert again == describe_files(small_models / "base_model")["model.safetensors"]


def test_recipes_with_default_sizes_get_the_shipped_models_whatever_their_items_and_rows_number() -> None:
    planned = plan_recipe(Recipe.model_validate(_RECIPE | {"miniature": {"world": {"items": 7}}}))
    by_name = {step.stage.name: step for step in planned}
    assert "shipped" in by_name["base_model"].inputs and "shipped" in by_name["translator"].inputs


@pytest.mark.parametrize(
    ("world", "config"),
    [
        (WorldConfig(), BaseModelConfig(steps=7)),
        (WorldConfig(), TranslatorConfig(both_ways=True)),
        (WorldConfig(seed=1), BaseModelConfig()),
        (WorldConfig(people=50), TranslatorConfig()),
    ],
)
def test_other_sizes_and_other_worlds_are_trained(
    world: WorldConfig, config: BaseModelConfig | TranslatorConfig
) -> None:
    assert shipped_model(config, world) is None


def test_models_for_rows_of_ones_own_are_trained(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"inputs": "a", "targets": "b", "language": "English", "language_code": "eng"}) + "\n")
    recipe = Recipe.model_validate(_RECIPE | {"data": {"source": str(rows)}})
    for step in plan_recipe(recipe):
        assert "shipped" not in step.inputs


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_models(folder, _SMALLEST)
    return folder


def test_command_makes_equal_bytes_again(small_models: Path, tmp_path: Path) -> None:
    make_models(tmp_path, _SMALLEST)
    assert describe_files(tmp_path) == describe_files(small_models)
    for figures in ("open_questions_known_to_base_model", "held_out_sentences_of_translator"):
        assert read_manifest(tmp_path)[figures] == read_manifest(small_models)[figures]


@pytest.mark.slow
def test_training_again_gives_models_that_know_as_much(tmp_path: Path) -> None:
    make_models(tmp_path)
    again, shipped = read_manifest(tmp_path), read_manifest()
    for name in ("base_model/tokenizer.json", "translator/tokenizer.json"):
        assert again["files"][name] == shipped["files"][name]
    known, expected = (each["open_questions_known_to_base_model"]["benchmarks"] for each in (again, shipped))
    assert known["en"] == pytest.approx(expected["en"], abs=0.05)
    assert max(share for language, share in known.items() if language != "en") < known["en"] / 2
    exact, before = (each["held_out_sentences_of_translator"]["exact_matches"] for each in (again, shipped))
    assert exact == pytest.approx(before, abs=5)
