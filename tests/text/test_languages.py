"""The language table: every code leads to its language, and no code to a neighbour."""

import csv
from pathlib import Path

import pytest
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from cc_tuning.text.languages import UnknownLanguage, all_languages, by_flores_code, by_iso639_1, find_language

SHARED_TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "languages.csv"


def test_every_flores_code_is_one_of_nllb() -> None:
    assert {language.flores_code for language in all_languages()} <= set(FAIRSEQ_LANGUAGE_CODES)


def test_table_holds_the_71_languages_of_aya() -> None:
    in_aya = [language for language in all_languages() if language.in_aya]
    assert len(in_aya) == 71
    # 65 languages, five more Arabic dialects, and the second Chinese script (which shares its code).
    assert len({language.aya_code for language in in_aya}) == 70


def test_every_code_of_every_row_leads_back_to_it() -> None:
    for language in all_languages():
        for code in (language.aya_code, *language.other_codes):
            assert find_language(code, language.name) == language


@pytest.mark.parametrize(
    ("code", "name", "text", "flores_code"),
    [
        ("swh", "", "", "swh_Latn"),
        ("npi", "Nepali", "", "npi_Deva"),
        ("plt", "Malagasy", "", "plt_Latn"),
        ("zsm", "Malay", "", "zsm_Latn"),
        ("als", "Albanian", "", "als_Latn"),
        ("pbt", "Pashto", "", "pbt_Arab"),
        ("tgl", "", "", "tgl_Latn"),
        ("ajp", "", "", "apc_Arab"),
        ("arb", "Standard Arabic", "", "arb_Arab"),
        ("ary", "Moroccan Arabic", "", "ary_Arab"),
        ("zho", "Simplified Chinese", "", "zho_Hans"),
        ("zho", "", "", "zho_Hans"),
        ("zho", "Traditional Chinese", "", "zho_Hant"),
        ("cmn", " traditional chinese ", "", "zho_Hant"),
        ("kur", "Kurdish", "Ez ji te hez dikim", "kmr_Latn"),
        ("kur", "", "من تۆم خۆشدەوێت", "ckb_Arab"),
        ("ckb", "", "", "ckb_Arab"),
        ("fil", "Filipino", "", "tgl_Latn"),
        ("bem", "", "", "bem_Latn"),
    ],
)
def test_code_name_and_script_decide_the_flores_code(code: str, name: str, text: str, flores_code: str) -> None:
    assert find_language(code, name, text).flores_code == flores_code


@pytest.mark.parametrize("code", ["", "xxx", "SPA", "es", "spa_Latn"])
def test_unknown_code_raises_instead_of_guessing(code: str) -> None:
    with pytest.raises(UnknownLanguage, match="is not among"):
        find_language(code)


def test_benchmark_codes_lead_to_their_language() -> None:
    flores_codes = {code: by_iso639_1(code).flores_code for code in ("ar", "zh", "sw", "en", "ko")}
    assert flores_codes == {
        "ar": "arb_Arab", "zh": "zho_Hans", "sw": "swh_Latn", "en": "eng_Latn", "ko": "kor_Hang",
    }  # fmt: skip
    with pytest.raises(UnknownLanguage, match="two-letter"):
        by_iso639_1("xx")
    with pytest.raises(UnknownLanguage):
        by_iso639_1("")


def test_flores_codes_are_unique_and_lead_back_to_their_language() -> None:
    assert [by_flores_code(language.flores_code) for language in all_languages()] == list(all_languages())
    with pytest.raises(UnknownLanguage, match="FLORES"):
        by_flores_code("xxx_Latn")


def test_only_arabic_and_hebrew_like_scripts_run_from_right_to_left() -> None:
    assert {language.aya_code for language in all_languages() if language.right_to_left} == {
        "arb", "ary", "ars", "acq", "arz", "apc", "kur", "pes", "pus", "snd", "urd",
    }  # fmt: skip
    assert not find_language("kur", "Kurdish").right_to_left


@pytest.mark.skipif(not SHARED_TABLE.is_file(), reason=f"{SHARED_TABLE} is not here to compare with")
def test_table_agrees_with_the_shared_facts() -> None:
    with SHARED_TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            language = find_language(row["aya_code"], row["name"])
            assert language.flores_code == row["flores200_code"]
            assert language.iso639_1 == row["iso639_1"]
            assert language.m2m100_code == row["m2m100_code"]
            for code in row["other_codes"].split():
                assert find_language(code, row["name"]).aya_code == row["aya_code"]
