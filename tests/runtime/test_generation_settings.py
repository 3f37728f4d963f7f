"""Sampling settings that transformers loads and refuses to save."""

from pathlib import Path

import pytest
from transformers import GenerationConfig

from cc_tuning.model.checkpoint import read_base_model, write_base_model
from cc_tuning.runtime.pretrained import savable_generation_settings
from data_contracts.files import write_json

UNSAVABLE = [
    {"temperature": 0.9},
    {"top_p": 0.6},
    {"temperature": 0.9, "top_k": 10},
    {"num_beams": 1, "length_penalty": 2.0},
]


@pytest.mark.parametrize("settings", UNSAVABLE, ids=str)
def test_a_base_model_with_sampling_settings_can_be_saved_and_keeps_its_token_ids(
    tmp_path: Path, tiny_llama_directory: Path, settings: dict[str, float]
) -> None:
    base, saved = tmp_path / "base", tmp_path / "saved"
    base.mkdir()
    saved.mkdir()
    for path in tiny_llama_directory.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    write_json(base / "generation_config.json", {"bos_token_id": 3, "eos_token_id": 4, "pad_token_id": 4} | settings)
    write_base_model(saved, read_base_model(base, "float32"), [4])
    kept = GenerationConfig.from_pretrained(saved)
    assert (kept.bos_token_id, kept.eos_token_id, kept.pad_token_id) == (3, [4], 4)


def test_settings_that_can_be_saved_stay_as_they_are() -> None:
    settings = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.9, eos_token_id=2)
    assert savable_generation_settings(settings) is settings
