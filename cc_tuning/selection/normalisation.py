"""Texts as words: what two texts have in common when case, punctuation and white space do not count.

Full-width and other compatibility forms become plain (NFKC), case is folded, invisible format characters go, and
everything that is neither letter, mark nor digit separates words. Scripts without blanks between words (Han, kana,
Thai, Lao, Khmer, Burmese) give one word per character with its marks, since a dictionary would have to be chosen
otherwise.
"""

import unicodedata

import polars as pl

_FORMAT_CHARACTERS = r"\p{Cf}+"
_UNSPACED_CHARACTER = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*)"
_BETWEEN_WORDS = r"[^\p{L}\p{M}\p{N}]+"


def normalise(texts: pl.Series) -> pl.Series:
    """`texts` as words with one blank between them; a text without a letter or digit becomes empty, null stays null."""
    folded = pl.Series(texts.name, [text if text is None else _folded(text) for text in texts.to_list()], pl.String)
    visible = folded.str.replace_all(_FORMAT_CHARACTERS, "")
    spaced = visible.str.replace_all(_UNSPACED_CHARACTER, " $1 ")
    return spaced.str.replace_all(_BETWEEN_WORDS, " ").str.strip_chars(" ")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Case folding can undo NFKC, so it stands between two normalisations.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
