"""Selection's rules in their slowest, most obvious form."""

import unicodedata
from collections.abc import Mapping, Sequence
from fractions import Fraction

_UNSPACED = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def words_of(text: str) -> list[str]:
    """Character by character: letters, marks and digits make words, an unspaced script's character is one itself."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words, after_unspaced = [""], False
    for character in folded:
        category = unicodedata.category(character)
        if category == "Cf":
            continue
        is_mark = category.startswith("M")
        if unicodedata.name(character, "").startswith(_UNSPACED) and not (is_mark and after_unspaced):
            words += [character]
            after_unspaced = True
        elif category[0] not in "LMN":
            words += [""]
            after_unspaced = False
        elif after_unspaced and not is_mark:
            words += [character]
            after_unspaced = False
        else:
            words[-1] += character
    return [word for word in words if word]


def share_a_run(words: Sequence[str], others: Sequence[str], length: int) -> bool:
    """Whether `length` words in a row stand in both."""
    return any(
        words[first : first + length] == others[second : second + length]
        for first in range(len(words) - length + 1)
        for second in range(len(others) - length + 1)
    )


def quotas_by_level(weights: Mapping[str, Fraction], capacities: Mapping[str, int], total: int) -> dict[str, int]:
    """A level rises from 0; language l holds min(capacity, level * weight). Stop at `total`, then round."""
    total = min(total, sum(capacities.values()))
    levels = sorted({Fraction(capacities[code]) / weights[code] for code in weights})

    def held(level: Fraction) -> dict[str, Fraction]:
        return {code: min(Fraction(capacities[code]), level * weights[code]) for code in weights}

    low = max([Fraction(0), *(level for level in levels if sum(held(level).values()) <= total)])
    rising = sum(weight for code, weight in weights.items() if capacities[code] > low * weight)
    exact = held(low + (total - sum(held(low).values())) / rising) if rising else held(low)
    given = {code: share.numerator // share.denominator for code, share in exact.items()}
    for code in sorted(exact, key=lambda code: (given[code] - exact[code], code))[: total - sum(given.values())]:
        given[code] += 1
    return given
