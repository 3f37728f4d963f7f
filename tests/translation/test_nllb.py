"""The NLLB engine: a tiny model that was trained on eight sentences says the right one, whatever the batch."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_nllb import FROM_ENGLISH, SENTENCES, make_tokenizer
from transformers import LlamaConfig, M2M100ForConditionalGeneration, NllbTokenizer

from cc_tuning.errors import TranslationFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH, by_flores_code
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import CheckedDecoder, translate_texts
from cc_tuning.translation.token_translator import TokenTranslator
from cc_tuning.translation.transformers_generator import LengthLimit, TransformersGenerator
from cc_tuning.translation.translator_families import Nllb

SPANISH = by_flores_code("spa_Latn")
EXECUTION = Execution(threads=1, device="cpu")


def load(folder: Path, batch_tokens: int = 4096, **config: object) -> TokenTranslator:
    execution = EXECUTION.model_copy(update={"translation_batch_tokens": batch_tokens})
    return load_translator(Location(str(folder)), TranslationConfig.model_validate(config), execution)


@pytest.mark.parametrize("beams", [1, 4])
def test_source_language_decides_the_translation(tiny_nllb_folder: Path, beams: int) -> None:
    translator = load(tiny_nllb_folder, beams=beams)
    for code, pairs in SENTENCES.items():
        assert translator.translate(list(pairs), by_flores_code(code), ENGLISH) == list(pairs.values())


@pytest.mark.parametrize("beams", [1, 4])
def test_target_language_decides_the_translation(tiny_nllb_folder: Path, beams: int) -> None:
    translator = load(tiny_nllb_folder, beams=beams)
    for code, pairs in FROM_ENGLISH.items():
        assert translator.translate(list(pairs), ENGLISH, by_flores_code(code)) == list(pairs.values())


def test_english_text_becomes_spanish_around_its_code(tiny_nllb_folder: Path) -> None:
    decoder = CheckedDecoder(load(tiny_nllb_folder), retry=True)
    text = "- The house is red. The dog drinks water.\n`The house is red.`"
    ((translated,), _) = translate_texts([text], ENGLISH, SPANISH, decoder, 64, {})
    assert translated.text == "- La casa es roja. El perro bebe agua.\n`The house is red.`"
    assert [segment.flags for segment in translated.segments] == [(), ()]


def test_translation_depends_on_neither_order_nor_batch_nor_repetition(tiny_nllb_folder: Path) -> None:
    segments = [*SENTENCES["spa_Latn"], "Hola el perro y la casa roja y el gato y el pan.", "pan", "0123 agua?"]
    expected = dict(zip(segments, load(tiny_nllb_folder).translate(segments, SPANISH, ENGLISH), strict=True))
    one_by_one = load(tiny_nllb_folder, batch_tokens=1)
    asked = [*reversed(segments), *segments]
    assert one_by_one.translate(asked, SPANISH, ENGLISH) == [expected[segment] for segment in asked]


def test_each_segment_ends_at_its_own_limit() -> None:
    """Start and language token do not count: after three ids, one token of the translation is there."""
    scores = torch.arange(8.0).reshape(2, 4)
    limited = LengthLimit(torch.tensor([1, 2]), end_token_id=2)(torch.zeros(2, 3, dtype=torch.int64), scores)
    assert limited[0].tolist() == [-torch.inf, -torch.inf, 0.0, -torch.inf]
    assert torch.equal(limited[1], scores[1])


@pytest.mark.parametrize("beams", [1, 3])
def test_translation_is_cut_at_the_most_new_tokens(tiny_nllb_folder: Path, beams: int) -> None:
    (cut,) = load(tiny_nllb_folder, beams=beams, max_new_tokens=4).translate(["El gato come pan."], SPANISH, ENGLISH)
    assert len(cut) < len("The cat eats bread.")


def test_control_tokens_in_user_text_stay_text(tiny_nllb_folder: Path) -> None:
    translator = load(tiny_nllb_folder)
    plain, typed = translator.count_tokens(["Hola", "Hola </s> eng_Latn <pad>"])
    assert typed > plain + 3
    assert translator.count_tokens([]) == []


def test_unknown_language_is_known_to_be_unknown(tiny_nllb_folder: Path) -> None:
    translator = load(tiny_nllb_folder)
    assert translator.knows(SPANISH)
    assert not translator.knows(by_flores_code("deu_Latn"))
    with pytest.raises(TranslationFailed, match="no token for deu_Latn"):
        translator.translate(["Hallo"], by_flores_code("deu_Latn"), ENGLISH)


def test_text_keeps_its_lines_and_code_around_the_translation(tiny_nllb_folder: Path) -> None:
    text = "- La casa es roja. El perro bebe agua.\r\n\n```\nLa casa es roja.\n```\n  `x` https://a.b 12\n"
    decoder = CheckedDecoder(load(tiny_nllb_folder), retry=True)
    (translated, empty), decoded = translate_texts([text, ""], SPANISH, ENGLISH, decoder, 64, {})
    assert translated.text == text.replace("La casa es roja. El", "The house is red. El", 1).replace(
        "El perro bebe agua.", "The dog drinks water."
    )
    assert [segment.flags for segment in translated.segments] == [(), ()]
    assert (empty.text, empty.segments) == ("", ())
    assert sorted(decoded) == ["El perro bebe agua.", "La casa es roja."]


class SmallMemory(M2M100ForConditionalGeneration):
    """The tiny model on a device with room for so many padded source tokens."""

    room = 0

    def generate(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs["input_ids"].numel() > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().generate(*args, **kwargs)


def with_small_memory(folder: Path, room: int) -> TokenTranslator:
    model = SmallMemory.from_pretrained(folder)
    model.room = room
    family, config = Nllb(NllbTokenizer.from_pretrained(folder)), TranslationConfig(beams=2)
    return TokenTranslator(family, TransformersGenerator(model, family, config), config, 4096)


def test_batch_too_large_for_the_memory_is_halved_until_it_fits(tiny_nllb_folder: Path) -> None:
    pairs = SENTENCES["spa_Latn"]
    longest = max(load(tiny_nllb_folder).count_tokens(list(pairs))) + 2
    for room in (longest, 2 * longest, 3 * longest):
        assert with_small_memory(tiny_nllb_folder, room).translate(list(pairs), SPANISH, ENGLISH) == list(
            pairs.values()
        )


def test_single_segment_too_large_for_the_memory_names_its_length(tiny_nllb_folder: Path) -> None:
    with pytest.raises(
        TranslationFailed, match=r"one segment of \d+ tokens with 2 beams .* `translation.max_segment_t"
    ):
        with_small_memory(tiny_nllb_folder, 3).translate(list(SENTENCES["spa_Latn"]), SPANISH, ENGLISH)


def test_second_decoding_has_its_own_settings(tiny_nllb_folder: Path) -> None:
    """Without any repeated token "The dog drinks water." cannot be said twice in one segment."""
    sentence = "El perro bebe agua. El perro bebe agua."
    same = load(tiny_nllb_folder, beams=1, retry_beams=1, retry_no_repeat_ngram_size=0)
    assert same.translate_again([sentence], SPANISH, ENGLISH) == same.translate([sentence], SPANISH, ENGLISH)
    translator = load(tiny_nllb_folder, beams=1, retry_beams=3, retry_no_repeat_ngram_size=1)
    (again,) = translator.translate_again(list(SENTENCES["spa_Latn"])[:1], SPANISH, ENGLISH)
    tokens = make_tokenizer()(again, add_special_tokens=False)["input_ids"]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_model_directory_without_a_file_is_named(tiny_nllb_folder: Path, tmp_path: Path, missing: str) -> None:
    folder = shutil.copytree(tiny_nllb_folder, tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(TranslationFailed, match=r"model lacks .*" + missing.partition(".")[2]):
        load(folder)


def test_truncated_weights_are_named(tiny_nllb_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_nllb_folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(TranslationFailed, match="model cannot be loaded"):
        load(folder)


def test_model_of_another_family_is_refused(tiny_nllb_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_nllb_folder, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(LlamaConfig().to_dict()))
    with pytest.raises(TranslationFailed, match="type 'llama', expected 'm2m_100'"):
        load(folder)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(TranslationFailed, match="is not a directory"):
        load(tmp_path / "nowhere")
