"""The official figures of MKQA: exact match and F1 over all aliases, normalised by language (Longpre et al. 2021).

Lower case, no ASCII punctuation, no articles of the language, then tokens: characters in Chinese, Japanese, Thai and
Khmer (Latin words there fall into characters too), words between white space elsewhere. Two habits of the official
script are kept, since figures could not be compared without them: Arabic loses `ال` wherever it stands in a word, and
French and Italian articles are also taken off the beginnings of longer words (`letters` becomes `tters`).

Facts as in https://github.com/apple/ml-mkqa (mkqa_eval_util.py at 651b8cc).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from cc_tuning.evaluation.measures.squad import best, token_f1, without_ascii_punctuation

_OF_CHARACTERS = frozenset({"zh", "ja", "th", "km"})
_WHOLE_WORDS: Mapping[str, str] = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
    "nl": "de het een des der den",
    "sv": "en ett",
    "da": "en et",
    "no": "en et ei",
    "pt": "o a os as um uma uns umas",
    "fi": "se yks yksi",
    "hu": "a az egy",
}
_BEGINNINGS: Mapping[str, str] = {
    # The first that fits is taken, so the order counts: `les` loses `le` and keeps its `s`. The apostrophes are gone
    # by then; those articles never fit.
    "fr": "le la l' les du de d' des un une des",
    "it": "il lo la l' i gli le del dello della dell' dei degli degl' delle un' uno una un",
}


def mkqa_exact_match(response: str, answers: Sequence[str], language: str) -> float:
    """100 if `response` is one of `answers` after normalisation, else 0."""
    tokens = _tokens(response, language)
    return best(answers, lambda answer: float(tokens == _tokens(answer, language)))


def mkqa_f1(response: str, answers: Sequence[str], language: str) -> float:
    """The token F1 with the nearest of `answers`, 0 to 100; two without any token are equal."""
    tokens = _tokens(response, language)

    def f1(answer: str) -> float:
        gold = _tokens(answer, language)
        return token_f1(tokens, gold) if tokens and gold else float(tokens == gold)

    return best(answers, f1)


def _tokens(text: str, language: str) -> list[str]:
    articles = _articles(language)
    plain = without_ascii_punctuation(text)
    words = (articles.sub(" ", plain) if articles else plain).split()
    return [character for word in words for character in word] if language in _OF_CHARACTERS else words


@cache
def _articles(language: str) -> re.Pattern[str] | None:
    if language == "ar":
        return re.compile("ال")
    if beginnings := _BEGINNINGS.get(language):
        return re.compile(rf"\b(?:{'|'.join(beginnings.split())})")
    if words := _WHOLE_WORDS.get(language):
        return re.compile(rf"\b(?:{'|'.join(words.split())})\b")
    return None
