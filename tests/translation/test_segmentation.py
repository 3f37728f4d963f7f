"""Segmentation: nothing is lost, structure is kept, and only prose reaches the translator."""

import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.text.languages import find_language
from cc_tuning.translation.segmentation import Segmenter, fit_token_budget, join_pieces, split_sentences

REAL_ROWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "aya_like" / "aya_like.parquet"
LANGUAGE_CODES = ["eng", "spa", "zho", "tha", "mya", "arb", "hin", "jpn", "hau", "amh"]
# Fragments that have broken segmenters, beside whatever hypothesis invents.
FRAGMENTS = [
    "Hello. ", "你好。", "再见", "สวัสดีครับ ", "မင်္ဂလာပါ။", "नमस्ते। ", "مرحبا؟ ", "```\n", "~~~", "`x`", "``", "`",
    "https://a.b/c?d=e. ", "me@example.org", "\n", "\r\n", "\r", "\x85", "\u2028", "\x1c", "\t", "  ", "- ", "1. ",
    "1、", "> ", "# ", "[ ] ", "12 345,6", "🙂", "👩‍👩‍👧", "e\u0301", "\u200f", "\u202b", "\x00", "ﷺ",
    "www.", "A. ", "ß", "| a | b |", "|---|:-:|", " | ", "│", "<b>", "</b>", "<a href='x y'>", "<br/>", "<!-- ", "-->",
    "&amp;", "&#160;", "$x_1$", "$", "$$", "\\(a\\)", "\\[", "\\]", "\\begin{align*}", "\\end{align*}", "$5",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=80), st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=30).map("".join)
)


def count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def segmenter(code: str, max_tokens: int = 40) -> Segmenter:
    return Segmenter(find_language(code), max_tokens, count_characters)


def prose_of(text: str, code: str = "eng", max_tokens: int = 1000) -> list[str]:
    return [piece.text for piece in segmenter(code, max_tokens).pieces(text) if piece.is_prose]


@given(text=TEXTS, code=st.sampled_from(LANGUAGE_CODES))
def test_identity_translator_gives_any_text_back(text: str, code: str) -> None:
    pieces = segmenter(code).pieces(text)
    assert "".join(piece.text for piece in pieces) == text
    assert join_pieces(pieces, [piece.text for piece in pieces if piece.is_prose]) == text


@given(text=TEXTS, code=st.sampled_from(LANGUAGE_CODES))
def test_upper_casing_translator_changes_only_prose(text: str, code: str) -> None:
    pieces = segmenter(code).pieces(text)
    upper = join_pieces(pieces, [piece.text.upper() for piece in pieces if piece.is_prose])
    assert upper == "".join(piece.text.upper() if piece.is_prose else piece.text for piece in pieces)


@given(text=TEXTS, code=st.sampled_from(LANGUAGE_CODES))
def test_prose_has_a_letter_and_no_whitespace_around(text: str, code: str) -> None:
    for piece in segmenter(code).pieces(text):
        if piece.is_prose:
            assert piece.text == piece.text.strip()
            assert any(character.isalpha() for character in piece.text)


@pytest.mark.parametrize(
    "line",
    [
        "", "   ", "42", "3.14 + 2 = 5.14", "----", "🙂🙂", "https://example.org/a_b?c=d", "ana@example.org",
        "`print(1)`", "`` a ` b ``", "1.", "\u200f",
    ],
)  # fmt: skip
def test_line_without_prose_never_reaches_the_translator(line: str) -> None:
    assert prose_of(line) == []


def test_fenced_code_is_copied_to_its_closing_fence() -> None:
    text = "Mira esto:\n```python\nprint('Hola.')\n~~~\n```\nFin.\n~~~~\nx\n~~~\ny"
    assert prose_of(text, "spa") == ["Mira esto:", "Fin."]


@pytest.mark.parametrize(
    ("line", "prose"),
    [
        ("  - Uno. Dos.", ["Uno.", "Dos."]),
        ("12) Tres", ["Tres"]),
        ("> # Título", ["Título"]),
        ("- [x] Hecho", ["Hecho"]),
        ("3、苹果", ["苹果"]),
        ("B. Cuatro", ["Cuatro"]),
        ("२. सेब", ["सेब"]),
    ],
)
def test_list_markers_are_kept_out_of_the_sentence(line: str, prose: list[str]) -> None:
    assert prose_of(line) == prose


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("| Nombre | Edad |\n|:--|--:|\n| Ana | 12 |", ["Nombre", "Edad", "Ana"]),
        ("Nombre | Edad\n--- | ---\nAna|Eva | 12", ["Nombre", "Edad", "Ana|Eva"]),
        ("+-----+\n| Uno |\n+=====+", ["Uno"]),
        ("│ Uno ║ Dos │", ["Uno", "Dos"]),
        ('Un <b>gato</b> &amp; <a href="x y">más</a><br/>', ["Un", "gato", "más"]),
        ("Si a <b y c> d, <!-- no --> sí & no;", ["Si a <b y c> d,", "sí & no;"]),
        ("Sea $x_1 + y$ igual a \\(z^2\\) o \\[w\\].", ["Sea", "igual a", "o"]),
        ("Cuesta $5 o $6, y luego $7", ["Cuesta $5 o $6, y luego $7"]),
        ("Pagan $mucho dinero y poco$ hoy", ["Pagan $mucho dinero y poco$ hoy"]),
        ("Así:\n$$\nx = y\n$$ donde\n\\begin{align*}\na &= b\n\\end{align*}\nfin", ["Así:", "donde", "fin"]),
        ("$$ sin fin\n\\[ nunca", ["$$ sin fin", "\\[ nunca"]),
        ("```\n$$\n```\nuno\n$$ dos", ["uno", "$$ dos"]),
    ],
)
def test_structure_is_copied_and_its_text_is_translated(text: str, prose: list[str]) -> None:
    assert prose_of(text, "spa") == prose


@given(
    parts=st.lists(
        st.sampled_from(["<b>", "</i>", "&nbsp;", "$x_1 + b$", "\\(a\\)", "`x`", "https://a.b/c", "│", "a@b.org"]),
        min_size=1,
        max_size=8,
    )
)
def test_copied_spans_survive_an_upper_casing_translator(parts: list[str]) -> None:
    pieces = segmenter("spa", 1000).pieces("uno ".join([f"{part} " for part in parts]))
    upper = join_pieces(pieces, [piece.text.upper() for piece in pieces if piece.is_prose])
    assert upper == "UNO ".join([f"{part} " for part in parts])


def test_text_around_a_url_is_translated_and_its_full_stop_is_not_part_of_it() -> None:
    assert prose_of("请看https://a.org/b。谢谢", "zho") == ["请看", "谢谢"]
    pieces = [piece.text for piece in segmenter("eng").pieces("See https://a.org/b.")]
    assert pieces == ["See", " ", "https://a.org/b", "."]


@pytest.mark.parametrize(
    ("code", "text", "sentences"),
    [
        ("eng", "Mr. Smith came. He left.", ["Mr. Smith came.", "He left."]),
        ("zho", "你好。今天天气很好！", ["你好。", "今天天气很好！"]),
        ("hin", "नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("mya", "မင်္ဂလာပါ။ နေကောင်းလား။", ["မင်္ဂလာပါ။", "နေကောင်းလား။"]),
        ("arb", "مرحبا؟ نعم.", ["مرحبا؟", "نعم."]),
    ],
)
def test_each_sentence_is_its_own_segment(code: str, text: str, sentences: list[str]) -> None:
    assert prose_of(text, code) == sentences


def test_space_is_added_between_sentences_of_a_script_without_spaces() -> None:
    pieces = segmenter("zho").pieces("你好。再见`x`。")
    assert join_pieces(pieces, ["Hello.", "Goodbye"]) == "Hello. Goodbye `x`。"


def test_more_or_fewer_translations_than_prose_raise() -> None:
    pieces = segmenter("eng").pieces("One. Two.")
    for translations in (["One."], ["One.", "Two.", "Three."]):
        with pytest.raises(ValueError, match="prose pieces"):
            join_pieces(pieces, translations)


@pytest.mark.parametrize(
    "sentence",
    [
        "palabra " * 600, "a" * 5000, "สวัสดีครับวันนี้อากาศดี" * 200, "你好世界" * 1200, "🙂" * 3000 + "a",
        "uno, dos, " * 500, "a" + "\u0301" * 300,
    ],
)  # fmt: skip
def test_over_long_sentence_is_cut_to_the_budget_between_graphemes(sentence: str) -> None:
    parts = fit_token_budget([sentence], 100, count_characters)
    assert "".join(parts) == sentence
    assert all(len(part) <= 100 for part in parts) or parts == [sentence]
    assert not any(part.startswith("\u0301") for part in parts)


def test_over_long_sentence_is_cut_after_a_pause_before_it_is_cut_between_words() -> None:
    sentence = "one two three four, five six seven eight nine"
    assert fit_token_budget([sentence], 30, count_characters) == ["one two three four, ", "five six seven eight nine"]


def test_sentences_of_an_astral_text_are_cut_at_characters_not_utf16_units() -> None:
    text = "🙂 မင်္ဂလာပါ။ 🙂🙂 နေကောင်းလား။ ok"
    assert "".join(split_sentences(text, find_language("mya"))) == text


@pytest.mark.skipif(not REAL_ROWS.is_file(), reason=f"{REAL_ROWS} is not here: real rows cannot be tried")
def test_identity_translator_gives_every_real_row_back() -> None:
    for code, *texts in pl.read_parquet(REAL_ROWS, columns=["language_code", "inputs", "targets"]).iter_rows():
        for text in texts:
            pieces = segmenter(code, 200).pieces(text)
            assert join_pieces(pieces, [piece.text for piece in pieces if piece.is_prose]) == text
            assert all(len(piece.text) <= 200 for piece in pieces if piece.is_prose)


def test_hostile_rows_of_100_kilobytes_take_seconds_not_minutes() -> None:
    started = time.process_time()
    units = (
        "a", "`", "` ", "``a", "https://", "a.b@", "> ", "1. ", "!", "w.", "``` ", "[ ] ", "( ", "$a", "$a $",
        "<a b=c ", "<!-- ", "&a", "| ", "a|", "\\(", "\\[", "\\[\n", "$$\n", "\\begin{align}\n", "a<b>", "$a\\",
    )  # fmt: skip
    for unit in units:
        text = unit * (100_000 // len(unit))
        pieces = segmenter("eng", 500).pieces(text)
        assert "".join(piece.text for piece in pieces) == text
    assert time.process_time() - started < 60
