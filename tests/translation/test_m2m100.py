"""The M2M100 family: its own codes, its own tokenizer, the same promises as NLLB, in both directions."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_translation_stage import row, translate
from tiny_nllb import FROM_ENGLISH, SENTENCES
from transformers import M2M100Tokenizer

from cc_tuning.errors import TranslationFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH, all_languages, by_flores_code
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.model_files import load_model
from cc_tuning.translation.token_translator import TokenTranslator
from cc_tuning.translation.translator_families import M2M100
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import ParallelPair, QuarantinedRow

SPANISH, BASQUE = by_flores_code("spa_Latn"), by_flores_code("eus_Latn")


def load(folder: Path, **config: object) -> TokenTranslator:
    return load_translator(
        Location(str(folder)), TranslationConfig.model_validate(config), Execution(threads=1, device="cpu")
    )


@pytest.mark.parametrize("beams", [1, 4])
def test_both_languages_decide_the_translation(tiny_m2m100_folder: Path, beams: int) -> None:
    translator = load(tiny_m2m100_folder, beams=beams)
    for code, pairs in SENTENCES.items():
        assert translator.translate(list(pairs), by_flores_code(code), ENGLISH) == list(pairs.values())
    for code, pairs in FROM_ENGLISH.items():
        assert translator.translate(list(pairs), ENGLISH, by_flores_code(code)) == list(pairs.values())


def test_language_without_a_code_of_its_own_is_not_known(tiny_m2m100_folder: Path) -> None:
    translator = load(tiny_m2m100_folder)
    known = {language.flores_code for language in all_languages() if translator.knows(language)}
    assert known == {language.flores_code for language in all_languages() if language.m2m100_code}
    for languages in ((BASQUE, ENGLISH), (ENGLISH, BASQUE)):
        with pytest.raises(TranslationFailed, match=r"M2M100\) has no token for eus_Latn \(Basque\)"):
            translator.translate(["Kaixo"], *languages)


def test_rows_in_a_language_without_a_code_are_set_aside(tmp_path: Path, tiny_m2m100_folder: Path) -> None:
    rows = [row("La casa es roja.", "El gato come pan.", "spa"), row("Etxea gorria da.", "Bai.", "eus")]
    outcome, artifact = translate(tmp_path, rows, tiny_m2m100_folder, quarantine_limit=0.6)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    assert pairs.select("inputs_en", "targets_en").rows() == [("The house is red.", "The cat eats bread.")]
    assert read_parquet(artifact / QUARANTINE, QuarantinedRow)["rule"].to_list() == ["translator_lacks_language"]
    assert outcome.manifest.rows.quarantined == {"translator_lacks_language": 1}


def test_control_tokens_in_user_text_stay_text(tiny_m2m100_folder: Path) -> None:
    family = load_model(Location(str(tiny_m2m100_folder)), "float32").family
    encoded = family.encode(["Hola", "Hola </s> __es__ <pad>"], SPANISH)
    assert [ids[0] for ids in encoded] == [family.language_token_id(SPANISH)] * 2
    for ids in encoded:
        controls = {family.end_token_id, family.padding_id, family.language_token_id(SPANISH)}
        assert ids[-1] == family.end_token_id
        assert not controls & set(ids[1:-1])
    plain, typed = family.count_tokens(["Hola", "Hola </s> __es__ <pad>"])
    assert typed > plain + 3
    assert family.count_tokens([]) == []


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_language_tokens_are_the_same_and_no_text_whether_declared_or_not(
    tiny_m2m100_folder: Path, declared: bool
) -> None:
    """Published tokenizers declare them as special tokens; one made by the class of transformers 5.23 does not."""
    tokenizer = M2M100Tokenizer.from_pretrained(tiny_m2m100_folder)
    tokens = list(tokenizer.lang_token_to_id)
    if declared:
        files = [str(tiny_m2m100_folder / name) for name in ("vocab.json", "sentencepiece.bpe.model")]
        tokenizer = M2M100Tokenizer(*files, additional_special_tokens=tokens)
        assert set(tokens) <= set(tokenizer.all_special_tokens)
    family = M2M100(tokenizer)
    start = len(tokenizer.encoder)
    assert family.language_token_id(SPANISH) == start + tokens.index("__es__")
    assert family.size == start + len(tokens)
    words = family.encode(["Hola, Ana."], SPANISH)[0][1:-1]
    made_up = family.size + 3
    controls = [family.language_token_id(SPANISH), made_up, family.padding_id]
    assert family.text([*controls, *words, made_up, family.end_token_id]) == "Hola, Ana."


@given(text=st.text(st.sampled_from("abcdehlnorst .,"), min_size=1, max_size=40))
def test_text_of_known_letters_survives_the_tokens(tiny_m2m100_folder: Path, text: str) -> None:
    family = load_family(tiny_m2m100_folder)
    (ids,) = family.encode([text], SPANISH)
    assert family.text(ids) == " ".join(text.split())


_families: dict[Path, M2M100] = {}


def load_family(folder: Path) -> M2M100:
    """Read once: hypothesis asks a hundred times."""
    if folder not in _families:
        _families[folder] = M2M100(M2M100Tokenizer.from_pretrained(folder))
    return _families[folder]


def changed_copy(folder: Path, to: Path, tokenizer_class: str | None) -> Path:
    """A copy whose tokenizer_config.json names another class, or none."""
    copy = shutil.copytree(folder, to)
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("tokenizer_class")
    path.write_text(json.dumps(settings | ({"tokenizer_class": tokenizer_class} if tokenizer_class else {})))
    return copy


@pytest.mark.parametrize("model", ["tiny_nllb_folder", "tiny_m2m100_folder"])
def test_family_is_found_by_the_files_where_no_class_is_named(
    model: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    translator = load(changed_copy(request.getfixturevalue(model), tmp_path / "model", None))
    pairs = SENTENCES["spa_Latn"]
    assert translator.translate(list(pairs), SPANISH, ENGLISH) == list(pairs.values())


def test_tokenizer_of_another_family_is_refused_by_name(tiny_m2m100_folder: Path, tmp_path: Path) -> None:
    """SMaLL-100 has the same architecture and files, and wants the target language before the source text."""
    folder = changed_copy(tiny_m2m100_folder, tmp_path / "model", "SMALL100Tokenizer")
    with pytest.raises(TranslationFailed, match=r"a 'SMALL100Tokenizer' .*expected NllbTokenizer or M2M100Tokenizer"):
        load(folder)


def test_tokenizer_of_another_model_is_refused_by_its_size(
    tiny_m2m100_folder: Path, tiny_nllb_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_m2m100_folder, tmp_path / "model")
    for name in ("model.safetensors", "config.json"):
        shutil.copy(tiny_nllb_folder / name, folder / name)
    with pytest.raises(TranslationFailed, match=r"the tokenizer has \d+ tokens and the model \d+"):
        load(folder)


@pytest.mark.parametrize("missing", ["vocab.json", "sentencepiece.bpe.model", "config.json", "model.safetensors"])
def test_model_directory_without_a_file_is_named(tiny_m2m100_folder: Path, tmp_path: Path, missing: str) -> None:
    folder = shutil.copytree(tiny_m2m100_folder, tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(TranslationFailed, match=r"model lacks .*" + missing.rpartition(".")[2]):
        load(folder)


def test_model_directory_without_any_tokenizer_is_told_what_is_expected(
    tiny_m2m100_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        shutil.copy(tiny_m2m100_folder / name, folder / name)
    with pytest.raises(TranslationFailed, match=r"lacks a tokenizer.*M2M100 has vocab.json and sentencepiece"):
        load(folder)


@pytest.mark.parametrize("file", ["vocab.json", "sentencepiece.bpe.model", "tokenizer_config.json"])
def test_damaged_tokenizer_file_is_a_named_failure(tiny_m2m100_folder: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(tiny_m2m100_folder, tmp_path / "model")
    (folder / file).write_bytes((folder / file).read_bytes()[:40])
    with pytest.raises(TranslationFailed, match="model cannot be loaded"):
        load(folder)


def test_weights_that_lack_a_tensor_are_refused(tiny_m2m100_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_m2m100_folder, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    lost = "model.decoder.layers.0.fc1.weight"
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TranslationFailed, match=rf"lack 1 tensors, first \['{lost}'\]"):
        load(folder)
