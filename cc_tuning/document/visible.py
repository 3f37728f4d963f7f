"""Characters that a reader cannot see, made visible.

Text from a model can hold controls that reorder what stands around it on the page (U+202E turns the rest of a line
round), that end a line, or that are invalid in HTML. They are shown by name. Joiners (U+200C, U+200D), which several
scripts need, stay as they are.
"""

import unicodedata

# Format characters that are drawn: Arabic and Indic signs that stand before or around numbers.
_DRAWN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_KEPT = frozenset("\n\t\u200c\u200d" + _DRAWN)
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """`text` with control and format characters written as `⟨U+202E⟩`; line feeds, tabs and joiners are kept."""
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _INVISIBLE_CATEGORIES:
        return character
    return f"⟨U+{ord(character):04X}⟩"
