"""What of a text the translator sees, and how its answers go back into the text.

A text becomes pieces that, joined, are the text byte for byte. Prose pieces are single sentences without surrounding
whitespace; everything else is copied and never shown to the translator: line ends, blank lines, indentation, list
markers, fenced and inline code, URLs, e-mail addresses, the lines of tables, tags and entities of HTML and XML, LaTeX
formulas (`translation/copied_spans.py`), and whatever holds no letter (numbers, rules, emoji).
Placeholders are no alternative, because NLLB drops or translates them (https://github.com/OpenNMT/CTranslate2/issues/1798).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cc_tuning.text.languages import Language
from cc_tuning.translation.copied_spans import copied_spans, lines_and_blocks
from cc_tuning.translation.sentences import TokenCounter, fit_token_budget, split_sentences

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


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _needs_space(source_left: str, source_right: str, left: str, right: str) -> bool:
    seam, source_seam = left[-1:] + right[:1], source_left[-1:] + source_right[:1]
    if len(seam) < 2 or seam[0].isspace() or seam[1].isspace():
        return False
    return bool(_UNSPACED.search(source_seam)) and not _UNSPACED.search(seam)
