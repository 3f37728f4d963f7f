"""SQuAD 1.1 and MKQA scores the long way: letter by letter, without a regular expression, counter or table of bytes.

Written from the descriptions of both scripts, to be compared with `cc_tuning.evaluation.measures`.
"""

from collections.abc import Sequence

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
ENGLISH = {"a", "an", "the"}
ARTICLES = {
    "en": ENGLISH,
    "es": {"un", "una", "unos", "unas", "el", "la", "los", "las"},
    "vi": {"của", "là", "cái", "chiếc", "những"},
    "de": {"ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"},
    "pt": {"o", "a", "os", "as", "um", "uma", "uns", "umas"},
}
FRENCH = ("le", "la", "les", "du", "de", "des", "un", "une")


def squad(response: str, answers: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1, 0 to 100; nothing in common is 0, be there tokens or not."""
    said = squad_words(response)
    pairs = [(said, squad_words(answer)) for answer in answers]
    return 100.0 * any(a == b for a, b in pairs), 100.0 * max(f1(a, b) for a, b in pairs)


def mkqa(response: str, answers: Sequence[str], language: str) -> tuple[float, float]:
    """Exact match and F1, 0 to 100; where a side has no token both figures say whether they are equal."""
    said = mkqa_tokens(response, language)
    pairs = [(said, mkqa_tokens(answer, language)) for answer in answers]
    exact = [float(a == b) for a, b in pairs]
    overlap = [f1(a, b) if a and b else float(a == b) for a, b in pairs]
    return 100.0 * max(exact), 100.0 * max(overlap)


def squad_words(text: str) -> list[str]:
    """The words that count, in order."""
    return without(parts_of_words(unpunctuated(text)), ENGLISH)


def mkqa_tokens(text: str, language: str) -> list[str]:
    """The tokens that count, in order."""
    plain = unpunctuated(text)
    if language == "ar":
        while (place := plain.find("ال")) >= 0:
            # The two pieces stay apart, so that no new article is made of them.
            plain = plain[:place] + " " + plain[place + 2 :]
    if language == "fr":
        plain = "".join(without_french_beginning(part) for part in parts_of_words(plain))
    words = without(parts_of_words(plain), ARTICLES.get(language, set()))
    if language in ("zh", "ja", "th", "km"):
        return [letter for word in words for letter in word]
    return words


def without_french_beginning(part: str) -> str:
    """A word without the first article of the list that it begins with."""
    for article in FRENCH:
        if part.startswith(article):
            return " " + part[len(article) :]
    return part


def unpunctuated(text: str) -> str:
    """Lower case, without ASCII punctuation."""
    return "".join(letter for letter in text.lower() if letter not in PUNCTUATION)


def parts_of_words(text: str) -> list[str]:
    """`text` cut where letters, digits and the low line end or begin; the parts make it up again."""
    parts: list[str] = []
    for letter in text:
        is_inside = letter.isalnum() or letter == "_"
        if parts and (parts[-1][-1].isalnum() or parts[-1][-1] == "_") == is_inside:
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


def without(parts: Sequence[str], articles: set[str]) -> list[str]:
    """The words between white space once every part that is an article is a blank."""
    return "".join(" " if part in articles else part for part in parts).split()


def f1(said: Sequence[str], gold: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of tokens, each gold token met once."""
    left = list(gold)
    met = 0
    for token in said:
        if token in left:
            left.remove(token)
            met += 1
    if not met:
        return 0.0
    precision, recall = met / len(said), met / len(gold)
    return 2 * precision * recall / (precision + recall)
