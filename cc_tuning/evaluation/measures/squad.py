"""Exact match and F1 of SQuAD 1.1 (Rajpurkar et al. 2016), with its English normaliser in every language.

Published figures of XQuAD are counted so: lower case, without ASCII punctuation, without `a`, `an`, `the`, cut at white
space. A Chinese or Thai answer is then one word, and its F1 is nearly its exact match.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def squad_exact_match(response: str, answers: Sequence[str]) -> float:
    """100 if `response` is one of `answers` after normalisation, else 0."""
    return best(answers, lambda answer: float(_normalised(response) == _normalised(answer)))


def squad_f1(response: str, answers: Sequence[str]) -> float:
    """The token F1 with the nearest of `answers`, 0 to 100."""
    tokens = _normalised(response).split()
    return best(answers, lambda answer: token_f1(tokens, _normalised(answer).split()))


def token_f1(tokens: Sequence[str], gold: Sequence[str]) -> float:
    """2PR / (P + R) of the tokens that both have, each as often as in both, 0 to 1; without a common one 0."""
    common = (Counter(tokens) & Counter(gold)).total()
    return 2 * common / (len(tokens) + len(gold)) if common else 0.0


def best(answers: Sequence[str], figure: Callable[[str], float]) -> float:
    """The highest figure over the gold answers, times 100."""
    return 100.0 * max(map(figure, answers))


def without_ascii_punctuation(text: str) -> str:
    """`text` in lower case without the 32 marks of ASCII; `«`, `。`, `،` stay."""
    return text.lower().translate(_PUNCTUATION)


def _normalised(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", without_ascii_punctuation(text)).split())
