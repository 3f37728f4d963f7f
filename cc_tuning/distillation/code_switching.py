"""English prompts in which some words are of another language.

Words are replaced by what the translator makes of each alone. That is a dictionary and no grammar, as in code switching
by bilingual dictionaries: an inflected word keeps the form that the translator prefers.
"""

import re
from collections.abc import Mapping, Sequence

from cc_tuning.text.draws import draw_order
from cc_tuning.text.icu import word_ends
from cc_tuning.text.languages import ENGLISH
from cc_tuning.translation.decoding import CheckedSegment
from cc_tuning.translation.segmentation import Piece, Segmenter

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LONGEST_SENTENCE = 1_000_000
MOST_WORDS = 3
"""The most words of a word's translation; a translator that is given one word may go on with the sentences it knows."""
_SENTENCE_MARKS = " .,;:!?。，、！？।॥؟،؛۔"


def prose_words(prompt: str) -> list[str]:
    """The different words of a prompt as they are written, sorted; those of code, addresses and formulas left out."""
    return sorted({word for piece in _pieces(prompt) if piece.is_prose for word in _WORD.findall(piece.text)})


def words_to_switch(prompt: str, pair_id: str, share: float, seed: int) -> list[str]:
    """`share` of the prompt's different words, at least one: those with the lowest hashes of seed, pair and word."""
    words = sorted(prose_words(prompt), key=lambda word: (draw_order(seed, pair_id, word), word))
    return words[: max(1, round(share * len(words)))]


def switch_words(prompt: str, words: Sequence[str], translations: Mapping[str, str]) -> str:
    """`prompt` with each of `words` replaced wherever it stands in prose; one without a translation stays."""
    replaced = {word: translations[word] for word in words if word in translations}
    texts = [
        _WORD.sub(lambda word: replaced.get(word[0], word[0]), piece.text) if piece.is_prose else piece.text
        for piece in _pieces(prompt)
    ]
    return "".join(texts)


def usable_translations(decoded: Mapping[str, CheckedSegment]) -> dict[str, str]:
    """Words whose translation nothing speaks against, that is no whole sentence, and that is another word."""
    found = {}
    for word, segment in decoded.items():
        # A translator that is given one word ends it like a sentence.
        translation = segment.translation.strip(_SENTENCE_MARKS)
        is_word = 0 < len(word_ends(translation)) <= MOST_WORDS
        if is_word and not segment.flags and translation.casefold() != word.casefold():
            found[word] = translation
    return found


def _pieces(prompt: str) -> list[Piece]:
    return Segmenter(ENGLISH, _LONGEST_SENTENCE, lambda texts: [len(text) for text in texts]).pieces(prompt)
