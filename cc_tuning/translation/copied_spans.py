"""The parts of a text that are no prose: code, addresses, markup, formulas, table lines; in a line or over whole lines.

The patterns are conservative: what might be a sentence is left to the translator. Each is tried from a start that is
rare, runs over bounded or possessive repeats, and so takes time in proportion to the line's length.
"""

import re
from collections.abc import Iterator

# Every line boundary of Unicode, so that U+0085 or U+2028 survives as it is.
_LINE_END = re.compile("(\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029])")
_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}(?=[^`]*$)|~{3,})")
_CODE = r"``(?:[^`]|`(?!`))+``|`[^`]+`"
_ADDRESS = (
    r"(?:(?:https?|ftp)://|\bwww\.)[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*[A-Za-z0-9/_~%#=&+\-]"
    # A run of name characters is tried once, at its start: without that, 100 KB of letters take minutes.
    r"|(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+"
)
# An attribute has a value, since "a <b and c> d" is a comparison.
_TAG = (
    r"</?[A-Za-z][A-Za-z0-9:._\-]*+(?:\s++[A-Za-z_:@][A-Za-z0-9:._\-]*+=(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'=<>`]++))*+"
    r"\s*+/?>|<!--.{0,1000}?-->"
)
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,30}+|\#[0-9]{1,7}+|\#[xX][0-9A-Fa-f]{1,6}+);"
# One dollar opens before and closes after something that is not blank, and no digit follows: "$5 or $6" is money. What
# stands between has no blank or a sign of mathematics.
_FORMULA = (
    r"\$\$[^$]{1,1000}+\$\$"
    r"|(?<![\\$\w])\$(?=[^$\s]{1,300}+\$|[^$\s][^$]{0,300}?[\\^_=+*/<>{}])"
    r"(?:[!-#%-\[\]-~ ]|\\[ -~]){1,300}(?<!\s)\$(?![\w$])"
    r"|\\\(.{1,500}?\\\)|\\\[.{1,500}?\\\]"
)
# A pipe between blanks is no word of any language; box-drawing characters are lines wherever they stand.
_TABLE_LINES = r"(?<!\S)\|++(?!\S)|[\u2500-\u257f]++"

COPIED = re.compile("|".join((_CODE, _FORMULA, _TAG, _ENTITY, _ADDRESS, _TABLE_LINES)))
"""Spans of a line that are copied."""
COPIED_IN_TABLE_ROW = re.compile("|".join((_CODE, _FORMULA, _TAG, _ENTITY, _ADDRESS, r"(?<!\\)\|++", _TABLE_LINES)))
"""The same for a row of a Markdown or ASCII table, where every pipe is a line."""

_TABLE_ROW = re.compile(r"[ \t]*+\|.*\|[ \t]*+")
_MATH_ENVIRONMENTS = (
    "equation|align|alignat|flalign|gather|multline|eqnarray|displaymath|math|split|cases|array|matrix|pmatrix|bmatrix"
    "|vmatrix|Vmatrix|Bmatrix|smallmatrix|tikzpicture|tabular|verbatim|lstlisting"
)
_BLOCK_START = re.compile(
    rf"[ \t]*+(?:(?P<dollars>\$\$)|(?P<bracket>\\\[)|\\begin\{{(?P<name>(?:{_MATH_ENVIRONMENTS})\*?)\}})"
)


def copied_spans(line: str) -> re.Pattern[str]:
    """The pattern of the spans that are copied in `line`."""
    return COPIED_IN_TABLE_ROW if _TABLE_ROW.fullmatch(line) else COPIED


def lines_and_blocks(text: str) -> Iterator[tuple[str, bool]]:
    """`text` in parts, and whether each is copied whole: line ends, fenced code, displayed formulas, environments.

    A fence that is never closed reaches to the end, as in Markdown; a formula that is never closed is none.
    """
    fence, formula_end, position = "", "", 0
    absent: set[str] = set()  # ends that do not come any more
    for line, end in _lines(text):
        position += len(line) + len(end)
        if fence:
            yield line, True
            fence = "" if _closes(line, fence) else fence
        elif not formula_end and (opening := _FENCE.match(line)):
            yield line, True
            fence = opening["fence"]
        else:
            body = 0
            if not formula_end:
                body, formula_end = _formula_start(line)
                if formula_end in absent or text.find(formula_end, position - len(line) - len(end) + body) < 0:
                    absent.add(formula_end)
                    formula_end = ""
            close = line.find(formula_end, body) if formula_end else 0
            copied = len(line) if close < 0 else close + len(formula_end)
            yield line[:copied], True
            yield line[copied:], False
            formula_end = formula_end if close < 0 else ""
        yield end, True


def _lines(text: str) -> Iterator[tuple[str, str]]:
    parts = _LINE_END.split(text)
    yield from zip(parts[::2], [*parts[1::2], ""], strict=True)


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(fence) and set(mark) == {fence[0]}


def _formula_start(line: str) -> tuple[int, str]:
    """Where in `line` a displayed formula's body begins and what ends it; (0, "") where none begins."""
    start = _BLOCK_START.match(line)
    if not start:
        return 0, ""
    if start["name"]:
        return start.end(), f"\\end{{{start['name']}}}"
    return start.end(), "$$" if start["dollars"] else "\\]"
