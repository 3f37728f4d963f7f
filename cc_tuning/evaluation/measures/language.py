"""Whether an answer is written in the language of its prompt (Marchisio et al. 2024 call the contrary confusion).

Most of its letters must be of the language's script. Where other languages of the experiment write that script too,
py3langid must find the language likelier than those: its choice is restricted to the 22 languages of the paper and the
prompt's own, since it would otherwise take Indonesian for Malay and much else for its many small labels. Languages
that stand alone with their script among these (Bengali, Greek, Hindi, Russian, Telugu, Thai) are told by it alone, so
an answer in Ukrainian passes for Russian.

An identifier guesses on short texts (single English words: one in eight right), so an answer with fewer than
`JUDGED_LETTERS` letters is not judged, and whoever reports the share reports of how many.
"""

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from cc_tuning.text.languages import Language, UnknownLanguage, by_iso639_1, count_letters, is_mostly_outside

JUDGED_LETTERS = 20
LANGUAGES = (
    *("ar", "bn", "de", "el", "en", "es", "eu", "fr", "hi", "id", "ja"),
    *("ko", "pt", "ru", "sw", "te", "th", "tr", "ur", "vi", "yo", "zh"),
)
"""What an answer may be in: the languages of the paper's benchmarks."""
_EAST_ASIAN = frozenset({"Hang", "Hans", "Hant", "Jpan"})  # each writes Chinese characters


def is_in_language(text: str, code: str) -> bool | None:
    """Whether `text` is in the language of a two-letter code; None where that cannot be told.

    It cannot for a text of fewer than `JUDGED_LETTERS` letters, and for a language that the table of languages or the
    identifier does not know.
    """
    if count_letters(text) < JUDGED_LETTERS:
        return None
    try:
        language = by_iso639_1(code)
    except UnknownLanguage:
        return None
    if is_mostly_outside(text, language.script):
        return False
    rivals = _rivals(language)
    if len(rivals) == 1:
        return True
    if code not in _identifier().nb_classes:
        return None
    return next(label for label, _ in _identifier().rank(text) if label in rivals) == code


@cache
def _rivals(language: Language) -> frozenset[str]:
    """The codes of the languages that a text in this one's script may be in, its own among them."""
    scripts = _EAST_ASIAN if language.script in _EAST_ASIAN else {language.script}
    same = {code for code in LANGUAGES if by_iso639_1(code).script in scripts}
    return frozenset(same | {language.iso639_1})


@cache
def _identifier() -> LanguageIdentifier:
    """The language identifier, read once (a second)."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
