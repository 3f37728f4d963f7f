"""The two tiny models after a few steps: they load as any other model does, and generation ends."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
)

from cc_tuning.miniature.base_model import build_base_model, reading_loss
from cc_tuning.miniature.batches import IGNORED_LABEL, Document, batches_of_like_length, encode_documents
from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig
from cc_tuning.miniature.text_sources import prompts_of_items
from cc_tuning.miniature.translator import build_translator, translate
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import all_languages
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.files import sha256_of_file
from tests.miniature.conftest import make_build

SMALLEST_BASE = BaseModelConfig(
    vocabulary_size=700,
    extra_vocabulary_size=200,
    hidden_size=32,
    layers=2,
    heads=2,
    intermediate_size=48,
    steps=6,
    practice_steps=2,
)
SMALLEST_TRANSLATOR = TranslatorConfig(
    vocabulary_size=1_200, hidden_size=32, layers=1, heads=2, intermediate_size=48, steps=6, held_out_pairs=8
)


@pytest.fixture(scope="module")
def base_folder(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build_base_model(make_build(SMALLEST_BASE, {"world": small_world}, folder))
    return folder


@pytest.fixture(scope="module")
def translator_folder(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator")
    build_translator(make_build(SMALLEST_TRANSLATOR, {"world": small_world}, folder))
    return folder


def test_base_model_loads_chats_and_stops(base_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    model = AutoModelForCausalLM.from_pretrained(base_folder)
    prompts = ChatPrompts(tokenizer)
    ids = torch.tensor([prompts.encode_prompt("What is the capital of Kenya?")])
    output = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=list(prompts.stop_token_ids))
    assert ids.shape[1] < output.shape[1] <= ids.shape[1] + 5
    for name, steps in (("losses.jsonl", SMALLEST_BASE.steps), ("practice_losses.jsonl", SMALLEST_BASE.practice_steps)):
        assert len((base_folder / name).read_text().splitlines()) == steps


def test_base_model_has_equal_bytes_for_equal_inputs(base_folder: Path, small_world: Path, tmp_path: Path) -> None:
    build_base_model(make_build(SMALLEST_BASE, {"world": small_world}, tmp_path / "again"))
    for name in ("model.safetensors", "tokenizer.json", "losses.jsonl"):
        assert sha256_of_file(tmp_path / "again" / name) == sha256_of_file(base_folder / name)


@pytest.mark.parametrize("text", ["नैरोबी में", "你好。", "العربية", "emoji 🙂\n\ttab", "<|eot_id|> typed"])
def test_tokenizer_gives_every_text_back(base_folder: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    prompts = ChatPrompts(tokenizer)
    example = prompts.encode_example("?", text)
    answer = example.input_ids[example.prompt_length : -1]
    assert tokenizer.decode(answer, skip_special_tokens=False) == text


def test_prompts_of_conversations_are_not_learned(base_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    plain, asked = encode_documents([Document("Paris", "Where?"), Document("A text.")], tokenizer, 256)
    assert plain.input_ids == plain.labels
    answer = tokenizer("Paris", add_special_tokens=False)["input_ids"]
    assert [label for label in asked.labels if label != IGNORED_LABEL][:-1] == answer


def test_reading_loss_is_the_models_own_loss() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    ids = torch.randint(0, 50, (3, 9))
    labels = ids.masked_fill(torch.rand(3, 9) < 0.5, IGNORED_LABEL)
    expected = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(reading_loss(model, {"input_ids": ids, "labels": labels}), expected)


def test_every_sequence_comes_once_per_pass_within_the_token_budget() -> None:
    lengths = [3, 9, 4, 40, 5, 6, 7, 2]
    batches = batches_of_like_length(lengths, batch_tokens=20, seed=0)
    seen: list[int] = []
    while len(seen) < len(lengths):
        batch = next(batches)
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= 20
        seen += batch
    assert sorted(seen) == list(range(len(lengths)))


def test_translator_loads_knows_every_language_and_stops(translator_folder: Path) -> None:
    tokenizer = NllbTokenizer.from_pretrained(translator_folder)
    model = M2M100ForConditionalGeneration.from_pretrained(translator_folder)
    assert isinstance(AutoTokenizer.from_pretrained(translator_folder), NllbTokenizer)
    for language in all_languages():
        if language.flores_code:
            assert tokenizer.convert_tokens_to_ids(language.flores_code) != tokenizer.unk_token_id
    texts = pl.DataFrame({"flores_code": ["spa_Latn", "hin_Deva"], "text": ["Hola.", "नमस्ते।"]})
    assert len(translate(texts, model, tokenizer)) == 2


def test_translator_tells_how_many_held_out_sentences_it_had_right(translator_folder: Path) -> None:
    measured = json.loads((translator_folder / "held_out.json").read_text())
    assert measured["pairs"] == SMALLEST_TRANSLATOR.held_out_pairs
    assert 0 <= measured["exact_matches"] <= measured["pairs"]


def test_own_rows_and_items_enlarge_the_tokenizer(base_folder: Path, small_world: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"inputs": "Қандай астана? Япония", "targets": "東京です", "language": "Japanese", "language_code": "jpn"}
    rows.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    inputs = {"world": small_world, "rows": rows, "items": small_world / "benchmarks"}
    build_base_model(make_build(SMALLEST_BASE, inputs, tmp_path / "base"))
    own = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert len(own) > len(AutoTokenizer.from_pretrained(base_folder))


def test_given_english_becomes_translation_pairs(small_world: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"inputs": "Où ?", "targets": "Ici.", "language": "French", "language_code": "fra"}
    given = row | {"inputs_en": "Where?", "targets_en": "Here."}
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in (given, row | {"inputs": "Qui ?"})]
    rows.write_text("".join(lines), encoding="utf-8")
    without = build_translator(make_build(SMALLEST_TRANSLATOR, {"world": small_world}, tmp_path / "without"))
    counts = build_translator(make_build(SMALLEST_TRANSLATOR, {"world": small_world, "rows": rows}, tmp_path / "with"))
    assert counts.read == without.read + 2
    assert counts.kept > 0


@pytest.mark.parametrize(
    ("english", "needed", "is_trained"),
    [
        ("Where?", {}, False),
        (" ", {}, True),
        ("Where?", {"both_ways": True}, True),
        ("Where?", {"reads_prompts": True}, True),
    ],
    ids=["given", "blank", "given, and translated from English as well", "given, and prompts are translated"],
)
def test_a_translator_that_has_nothing_to_translate_is_not_trained(
    small_world: Path, tmp_path: Path, english: str, needed: dict[str, bool], is_trained: bool
) -> None:
    row = {"inputs": "Où ?", "targets": "Ici.", "language": "French", "language_code": "fra", "targets_en": "Here."}
    english_row = {"inputs": "Who?", "targets": "She.", "language": "English", "language_code": "eng"}
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in (row | {"inputs_en": english}, english_row)]
    rows.write_text("".join(lines), encoding="utf-8")
    config = SMALLEST_TRANSLATOR.model_copy(update=needed)
    counts = build_translator(make_build(config, {"world": small_world, "rows": rows}, tmp_path / "made"))
    assert (counts.kept > 0) == is_trained
    assert (tmp_path / "made" / "losses.jsonl").exists() == is_trained
    assert M2M100ForConditionalGeneration.from_pretrained(tmp_path / "made")
    AutoTokenizer.from_pretrained(tmp_path / "made")


def test_answers_of_items_are_never_read(tmp_path: Path) -> None:
    items = pl.DataFrame({"prompt": ["Who?"], "prompt_en": ["Who?"], "answers": [["Secret"]]})
    items.write_parquet(tmp_path / "mkqa.parquet")
    assert prompts_of_items(Location(str(tmp_path))) == ["Who?"]
