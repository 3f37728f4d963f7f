"""The segments of a text that the translator sees, and the way of its answers back into the text.

A text becomes pieces that, joined, are the text byte for byte. Prose pieces are single sentences without surrounding
whitespace; everything else is copied and never shown to the translator: line ends, blank lines, indentation, list
markers, fenced and inline code, URLs, e-mail addresses, the lines of tables, tags and entities of HTML and XML, LaTeX
formulas (`translation/copied_spans.py`), and whatever holds no letter (numbers, rules, emoji).

Placeholders are no alternative, because NLLB drops or translates them (https://github.com/OpenNMT/CTranslate2/issues/1798).

NLLB was trained on single sentences and drops what follows the first when it is given several, so a line is cut first.
`sentencex` knows the abbreviations of many languages; ICU cuts the scripts that it leaves whole (Thai, Khmer, Lao,
Burmese) and stands in wherever sentencex would change the text. A sentence above the token budget is halved where a
reader would pause, again and again.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sentencex

from cc_tuning.text.icu import grapheme_ends, line_break_ends, sentence_ends
from cc_tuning.text.languages import Language
from cc_tuning.translation.copied_spans import copied_spans, lines_and_blocks

TokenCounter = Callable[[Sequence[str]], list[int]]
"""The number of the translator's tokens of each text, without language and end tokens."""

_ICU_SCRIPTS = frozenset({"Thai", "Khmr", "Laoo", "Mymr"})
_PAUSES = frozenset(",;:،؛、，；：。．.!?！？।॥။၊።")
_LINE_START = re.compile(
    r"[ \t]*(?:>[ \t]?)*"  # quotation
    r"(?:(?:[-*+•‣◦●–—]|\#{1,6}|\(?\d{1,3}[.)．]|\(?[A-Za-z]\)|[A-D]\.)[ \t]+|\d{1,3}、[ \t]*)?"  # list item, heading
    r"(?:\[[ xX]\][ \t]+)?"  # check box
)
# Scripts and marks that are written without a space after them.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65"
    "\U00020000-\U0003ffff\u0964\u0965\u06d4\u1362]"
)


@dataclass(frozen=True)
class Piece:
    """A stretch of a text."""

    text: str
    is_prose: bool
    """Whether the translator sees it; otherwise it is copied."""


@dataclass(frozen=True)
class Segmenter:
    """Cuts texts of one language into pieces whose prose is at most `max_tokens` long."""

    language: Language
    max_tokens: int
    count_tokens: TokenCounter

    def pieces(self, text: str) -> list[Piece]:
        """The pieces of `text`; their texts joined are `text`."""
        pieces: list[Piece] = []
        for part, is_copied in lines_and_blocks(text):
            pieces += [Piece(part, is_prose=False)] if is_copied else self._line(part)
        return [piece for piece in pieces if piece.text]

    def _line(self, line: str) -> Iterator[Piece]:
        start = _LINE_START.match(line)
        position = start.end() if start else 0
        yield Piece(line[:position], is_prose=False)
        for copied in copied_spans(line).finditer(line, position):
            yield from self._prose(line[position : copied.start()])
            yield Piece(copied[0], is_prose=False)
            position = copied.end()
        yield from self._prose(line[position:])

    def _prose(self, text: str) -> Iterator[Piece]:
        if not _has_letter(text):
            yield Piece(text, is_prose=False)
            return
        sentences = split_sentences(text, self.language)
        for sentence in fit_token_budget(sentences, self.max_tokens, self.count_tokens):
            core = sentence.strip()
            if not _has_letter(core):
                yield Piece(sentence, is_prose=False)
                continue
            start = len(sentence) - len(sentence.lstrip())
            yield Piece(sentence[:start], is_prose=False)
            yield Piece(core, is_prose=True)
            yield Piece(sentence[start + len(core) :], is_prose=False)


def split_sentences(text: str, language: Language) -> list[str]:
    """The sentences of `text`, each with the whitespace that follows it; joined they are `text` again."""
    if language.script not in _ICU_SCRIPTS:
        sentences: list[str] = sentencex.segment(language.iso639_1 or language.aya_code, text)
        if "".join(sentences) == text:
            return sentences
    ends = sentence_ends(text)
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def fit_token_budget(sentences: Sequence[str], max_tokens: int, count_tokens: TokenCounter) -> list[str]:
    """`sentences`, each one above `max_tokens` cut into parts that fit; joined they are the same text.

    Only a single grapheme (a letter with all its marks) is never cut, whatever its number of tokens.
    """
    fitting: list[str] = []
    for sentence, tokens in zip(sentences, count_tokens(sentences), strict=True):
        middle = _best_cut(sentence) if tokens > max_tokens else None
        if middle is None:
            fitting.append(sentence)
        else:
            fitting += fit_token_budget([sentence[:middle], sentence[middle:]], max_tokens, count_tokens)
    return fitting


def join_pieces(pieces: Sequence[Piece], translations: Sequence[str]) -> str:
    """The text of `pieces` with the i-th prose piece replaced by the i-th translation.

    Where two pieces need no space between them because of the source's script ("你好。再见") and their translations do,
    one is put in. If every translation equals its prose, the result is the original text.

    Raises:
        ValueError: there are more or fewer translations than prose pieces.
    """
    texts = iter(translations)
    joined: list[str] = []
    source_before, written_before = "", ""
    for piece in pieces:
        written = next(texts, None) if piece.is_prose else piece.text
        if written is None:
            raise ValueError(f"{len(translations)} translations for more prose pieces than that")
        if _needs_space(source_before, piece.text, written_before, written):
            joined.append(" ")
        joined.append(written)
        source_before, written_before = piece.text, written
    if next(texts, None) is not None:
        raise ValueError(f"{len(translations)} translations for fewer prose pieces than that")
    return "".join(joined)


def _best_cut(sentence: str) -> int | None:
    """Where to halve a sentence: after a pause, else between words, else between graphemes; None if it is one."""
    low, high = len(sentence) // 4, 3 * len(sentence) // 4
    lines = line_break_ends(sentence)
    # Cuts stay in the middle half, so that halving a sentence of N characters takes O(log N) rounds.
    words = [place for place in lines if low < place <= high and place < len(sentence)]
    pauses = [place for place in words if _last_letter(sentence, place) in _PAUSES]
    if pauses or words:
        return _nearest(pauses or words, len(sentence) // 2)
    graphemes = grapheme_ends(sentence)[:-1]
    return _nearest(graphemes, len(sentence) // 2) if graphemes else None


def _last_letter(text: str, end: int) -> str:
    while end > 1 and text[end - 1].isspace():
        end -= 1
    return text[end - 1]


def _nearest(places: Sequence[int], target: int) -> int:
    """The place closest to `target`; `places` is sorted and not empty."""
    right = bisect_left(places, target)
    return min(places[max(right - 1, 0) : right + 1], key=lambda place: abs(place - target))


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _needs_space(source_left: str, source_right: str, left: str, right: str) -> bool:
    seam, source_seam = left[-1:] + right[:1], source_left[-1:] + source_right[:1]
    if len(seam) < 2 or seam[0].isspace() or seam[1].isspace():
        return False
    return bool(_UNSPACED.search(source_seam)) and not _UNSPACED.search(seam)
