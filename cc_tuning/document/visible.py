"""Characters that a reader cannot see, made visible.

Text from a model can hold controls that reorder what stands around it on the page (U+202E turns the rest of a line
round), that end a line, or that are invalid in HTML. They are shown by name. Joiners (U+200C, U+200D), which several
scripts need, stay as they are.
"""

import re
import sys
import unicodedata
from functools import cache

# Format characters that are drawn: Arabic and Indic signs that stand before or around numbers.
_DRAWN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_KEPT = frozenset("\n\t\u200c\u200d" + _DRAWN)
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """`text` with control and format characters written as `⟨U+202E⟩`; line feeds, tabs and joiners are kept."""
    return _invisible().sub(_named, text.replace("\r\n", "\n"))


@cache
def _invisible() -> re.Pattern[str]:
    # One pattern of all of them: most texts have none, and a report shows millions of characters.
    characters = (
        re.escape(character)
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in _INVISIBLE_CATEGORIES and character not in _KEPT
    )
    return re.compile(f"[{''.join(characters)}]")


def _named(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"
