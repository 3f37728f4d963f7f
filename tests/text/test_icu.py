"""Breaks are places of the Python string, whatever characters stand before them."""

import icu
import pytest

from cc_tuning.text.icu import grapheme_ends, line_break_ends, sentence_ends, words

TEXTS = [
    "",
    "One. Two!",
    "Ein Satz 😀. Noch einer 👩‍👩‍👧 hier.",
    "𠮷野家で食べた。また来る。",
    "สวัสดีชาวโลก 🙂 ครับ",
    "नमस्ते दुनिया। ठीक है।",
]
KINDS = {
    sentence_ends: icu.BreakIterator.createSentenceInstance,
    line_break_ends: icu.BreakIterator.createLineInstance,
    grapheme_ends: icu.BreakIterator.createCharacterInstance,
}


def parts_by_utf16(breaks: icu.BreakIterator, text: str) -> list[tuple[str, int]]:
    """Each part and its rule status, cut out of the text's UTF-16 units as ICU counts them."""
    breaks.setText(icu.UnicodeString(text))
    units, start, parts = text.encode("utf-16-le"), 0, []
    for end in breaks:
        parts.append((units[2 * start : 2 * end].decode("utf-16-le"), breaks.getRuleStatus()))
        start = end
    return parts


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ends_of", KINDS, ids=lambda function: function.__name__)
def test_ends_cut_a_text_where_icu_does(ends_of, text: str) -> None:
    ends = ends_of(text)
    parts = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert parts == [part for part, _ in parts_by_utf16(KINDS[ends_of](icu.Locale.getRoot()), text)]
    assert "".join(parts) == text


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_the_parts_that_icu_calls_words(text: str) -> None:
    parts = parts_by_utf16(icu.BreakIterator.createWordInstance(icu.Locale.getRoot()), text)
    assert words(text) == [part for part, status in parts if status >= 100]


def test_words_of_scripts_without_blanks_come_from_a_dictionary() -> None:
    assert words("我爱北京。") == ["我", "爱", "北京"]
