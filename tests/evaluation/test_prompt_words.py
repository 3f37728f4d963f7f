"""Prompts in 22 languages: what can be told of words by rule. Whether they are good words, docs/prompts.md is for."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import icu
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.prompts import languages_of, layout_of, option_labels, relation_words, render
from cc_tuning.evaluation.prompts.layouts import LAYOUTS
from cc_tuning.evaluation.prompts.named_fields import NAMED_FIELDS
from cc_tuning.evaluation.prompts.reference import example_items, prompts_page
from cc_tuning.evaluation.prompts.vocabulary import FOLDER, REQUESTS, read_vocabulary, vocabulary_of
from cc_tuning.evaluation.scorers import mentioned_options

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "prompt_examples"
PAPER = tuple(sorted({code for benchmark in BENCHMARKS.values() for code in benchmark.paper_languages}))
SCRIPTS = {
    "ar": "Arab", "bn": "Beng", "el": "Grek", "hi": "Deva", "ja": "Han|Hira|Kana", "ko": "Hang", "ru": "Cyrl",
    "te": "Telu", "th": "Thai", "ur": "Arab", "zh": "Han",
}  # fmt: skip
"""ISO 15924; the others are written in Latin letters."""
NOT_LATIN = tuple(SCRIPTS)
LATIN = tuple(code for code in PAPER if code not in SCRIPTS)
COGNATES = {
    "de": {"neutral"},
    "es": {"final"},
    "fr": {"article", "contradiction", "possible", "question", "relation"},
    "pt": {"final"},
}
"""English words of the prompts that these languages have too, of one origin and in the same spelling."""
FULL_STOPS = {"bn": "।", "hi": "।", "ja": "。", "th": "", "ur": "۔", "zh": "。"}
QUESTION_MARKS = {"ar": "؟", "el": ";", "ja": "。", "th": "", "ur": "؟", "zh": "？"}
FOREIGN_MARKS = {
    "ar": ",;?۔", "bn": ".", "el": "?", "hi": ".", "ja": ",.;:?!()", "ur": ",;?.", "zh": ",.;:?!()", "th": "?;,",
}  # fmt: skip
"""Punctuation of other languages that a prompt of this one has no use for."""
ASKING = ("ask_relation", "ask_ending")


def words_of(code: str) -> dict[str, str]:
    vocabulary = vocabulary_of(code)
    return {**vocabulary.names, **vocabulary.relations, **vocabulary.requests}


def example_prompts(code: str) -> Iterator[tuple[str, str]]:
    for benchmark, items in example_items(EXAMPLES / f"{code}.toml").items():
        for fields in items:
            yield benchmark, render(benchmark, code, fields)


def numbered_fields(benchmark: str, text: str) -> dict[str, Any]:
    """Every text of an item is `text` and a number of its own."""
    layout, count = layout_of(benchmark), iter(range(100))
    return {
        name: [f"{text}{next(count)}" for _ in range(layout.sizes[name])]
        if name in layout.sizes
        else f"{text}{next(count)}"
        for name in layout.fields
    }


def texts_in(fields: dict[str, Any]) -> list[str]:
    return [text for value in fields.values() for text in ([value] if isinstance(value, str) else value)]


@cache
def identifier() -> LanguageIdentifier:
    among = LanguageIdentifier.from_model_file(MODEL_FILE)
    among.set_languages(list(PAPER))
    return among


def test_every_benchmark_has_a_prompt_in_every_language_of_the_paper() -> None:
    assert len(PAPER) == 22
    given = {name for name, benchmark in BENCHMARKS.items() if benchmark.is_instruction}
    assert {*LAYOUTS, *NAMED_FIELDS, *given} == set(BENCHMARKS), "names of fields and instructions are of few languages"
    assert all(languages_of(benchmark) == PAPER for benchmark in LAYOUTS)


@pytest.mark.parametrize("code", PAPER)
@pytest.mark.parametrize("benchmark", LAYOUTS)
def test_every_text_of_an_item_stands_once_in_order(benchmark: str, code: str) -> None:
    fields = numbered_fields(benchmark, "¤")
    found = re.findall(r"¤\d+", render(benchmark, code, fields))
    assert found == texts_in(fields)


@settings(max_examples=40, deadline=None)
@given(
    benchmark=st.sampled_from(tuple(LAYOUTS)),
    code=st.sampled_from(PAPER),
    text=st.text(st.characters(exclude_characters="\ue000")),
)
def test_a_text_is_put_in_as_it_is(benchmark: str, code: str, text: str) -> None:
    """Against replacing marks one by one, which is right as long as the marks come from nowhere else."""
    marks, fields = numbered_fields(benchmark, "\ue000"), numbered_fields(benchmark, text)
    expected = render(benchmark, code, marks)
    for mark, own in zip(texts_in(marks), texts_in(fields), strict=True):
        head, _, tail = expected.partition(mark)
        expected = f"{head}{own}{tail}"
    assert render(benchmark, code, fields) == expected


def test_a_text_that_looks_like_a_slot_stays() -> None:
    prompt = render("XNLI", "en", {"premise": "{hypothesis} <answer> {0} %s \\1", "hypothesis": "{premise}"})
    assert prompt.startswith("Premise: {hypothesis} <answer> {0} %s \\1\nHypothesis: {premise}\n")


@pytest.mark.parametrize("code", PAPER)
def test_a_prompt_ends_with_its_cue(code: str) -> None:
    names, colon = vocabulary_of(code).names, vocabulary_of(code).colon.rstrip(" ")
    for benchmark, prompt in example_prompts(code):
        cue = names["summary" if benchmark == "XLSum" else "answer"]
        assert prompt.splitlines()[-1] == f"{cue}{colon}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": "?"}, r"missing are \['options'\], unknown are \[\]"),
        ({"question": "?", "options": list("abcd"), "answer": "a"}, r"missing are \[\], unknown are \['answer'\]"),
        ({"question": "?", "options": list("abc")}, r"'options' .* \['a', 'b', 'c'\], expected a sequence of 4 texts"),
        ({"question": "?", "options": "abcd"}, "'abcd', expected a sequence of 4 texts"),
        ({"question": "?", "options": ["a", "b", "c", None]}, "expected a sequence of 4 texts"),
        ({"question": None, "options": list("abcd")}, "'question' of an item of MMMLU is None, expected a text"),
    ],
)
def test_fields_that_a_prompt_cannot_be_made_of_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render("MMMLU", "en", fields)


def test_a_language_without_words_is_refused_by_name() -> None:
    for call in (lambda: render("MKQA", "fi", {"question": "?"}), lambda: option_labels("MKQA", "fi")):
        with pytest.raises(ConfigError, match=r"'fi' for the prompts of MKQA; there are for ar bn .* zh"):
            call()
    with pytest.raises(ConfigError, match="'fi' for the prompts of XNLI"):
        relation_words("fi")


def test_a_benchmark_without_a_prompt_is_refused_by_name() -> None:
    for call in (lambda: render("SQuAD", "en", {}), lambda: languages_of("SQuAD")):
        with pytest.raises(ConfigError, match=r"'SQuAD' has no prompt; those that have one are XNLI, .*MGSM"):
            call()


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ('answer = "Answer"\n', "", r"\[names\]: missing are \['answer'\]"),
        ('answer = "Answer"', 'answer = "Answer"\nreply = "Reply"', r"\[names\]: .*unknown are \['reply'\]"),
        ('answer = "Answer"', "answer = 1", r"\[names\]: answer is 1, expected a text"),
        ("0123456789", "123", "digits is '123', expected the ten digits"),
    ],
)
def test_a_file_of_words_is_whole_or_refused(tmp_path: Path, found: str, put: str, message: str) -> None:
    text = (FOLDER / "en.toml").read_text(encoding="utf-8")
    assert text.count(found) == 1
    (tmp_path / "en.toml").write_text(text.replace(found, put), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_vocabulary(tmp_path / "en.toml")


@pytest.mark.parametrize("code", PAPER)
@pytest.mark.parametrize("benchmark", LAYOUTS)
def test_the_scorer_reads_every_label_as_the_option_of_the_gold_answers(benchmark: str, code: str) -> None:
    labels, options = option_labels(benchmark, code), BENCHMARKS[benchmark].options
    prompt = render(benchmark, code, numbered_fields(benchmark, "¤"))
    assert [mentioned_options(label, options) for label in labels] == [{option} for option in options]
    assert all(label in prompt for label in labels)


@pytest.mark.parametrize("code", PAPER)
def test_numbers_are_those_that_cldr_has_for_the_likeliest_country(code: str) -> None:
    locale = icu.Locale(code)
    locale.addLikelySubtags()
    digits = icu.NumberingSystem.createInstance(locale).getDescription()
    assert vocabulary_of(code).digits == digits
    assert option_labels("XNLI", code) == tuple(digits[number] for number in (1, 2, 3))


@pytest.mark.parametrize("code", PAPER)
def test_prompts_of_examples_have_the_numerals_of_their_language(code: str) -> None:
    found = {character for _, prompt in example_prompts(code) for character in prompt if character.isdecimal()}
    assert found <= set(vocabulary_of(code).digits)


@pytest.mark.parametrize("code", PAPER)
def test_words_are_composed_and_have_no_stray_blanks(code: str) -> None:
    text = (FOLDER / f"{code}.toml").read_text(encoding="utf-8") + (EXAMPLES / f"{code}.toml").read_text("utf-8")
    assert unicodedata.is_normalized("NFC", text)
    assert not [word for word in words_of(code).values() if word != word.strip() or "  " in word or not word]


@pytest.mark.parametrize("code", PAPER)
def test_every_letter_of_a_word_is_of_the_languages_script(code: str) -> None:
    scripts = "".join(rf"\p{{Script={script}}}" for script in SCRIPTS.get(code, "Latn").split("|"))
    strange = regex.compile(rf"[\p{{L}}--[{scripts}ー]]", regex.V1)
    assert not [word for word in words_of(code).values() if strange.search(word)]


@pytest.mark.parametrize("code", NOT_LATIN)
def test_no_latin_letter_but_the_options_is_left_where_another_script_is_written(code: str) -> None:
    for _, prompt in example_prompts(code):
        without_labels = re.sub(r"^[(（][A-D][)）]", "", prompt, flags=re.MULTILINE)
        assert not regex.findall(r"\p{Latin}+", without_labels)


@pytest.mark.parametrize("code", [code for code in LATIN if code != "en"])
def test_no_english_word_is_left_but_named_cognates(code: str) -> None:
    """Words of four letters and more; shorter ones, such as `in`, are words of other languages as well."""
    english = {word for text in words_of("en").values() for word in re.findall(r"[a-z]{4,}", text.lower())}
    own = {word for text in words_of(code).values() for word in regex.findall(r"\p{L}+", text.lower())}
    assert english & own == COGNATES.get(code, set())


@pytest.mark.parametrize("code", PAPER)
def test_sentences_end_as_the_language_ends_them(code: str) -> None:
    requests = vocabulary_of(code).requests
    for name in REQUESTS:
        end = QUESTION_MARKS.get(code, "?") if name in ASKING else FULL_STOPS.get(code, ".")
        assert requests[name].endswith(end)
        assert end or requests[name][-1].isalpha() or unicodedata.category(requests[name][-1]) in ("Mn", "Mc")


@pytest.mark.parametrize("code", FOREIGN_MARKS)
def test_no_punctuation_of_another_language_is_left(code: str) -> None:
    for _, prompt in example_prompts(code):
        assert not set(FOREIGN_MARKS[code]) & set(prompt)


@pytest.mark.parametrize(("code", "foreign"), [("ur", "يكهة"), ("ar", "یکہھے")])
def test_arabic_and_urdu_have_their_own_letters(code: str, foreign: str) -> None:
    """Letters that look alike and are others: a text with the wrong ones is other tokens for a model."""
    for _, prompt in example_prompts(code):
        assert not set(foreign) & set(prompt)


def test_french_has_a_no_break_space_before_high_punctuation() -> None:
    for _, prompt in example_prompts("fr"):
        assert not re.search("(?<!\u00a0)[:;?!]", prompt)
        assert "'" not in prompt


def test_spanish_opens_what_it_closes() -> None:
    for _, prompt in example_prompts("es"):
        assert prompt.count("¿") == prompt.count("?")


def test_yoruba_and_vietnamese_have_their_diacritics() -> None:
    """Marks of tone in every sentence; a dot below in every Yoruba one but that without e, o or s that takes it."""
    for code, marks in (("yo", "\u0300\u0301"), ("vi", "\u0300\u0301\u0303\u0309\u0323")):
        decomposed = [unicodedata.normalize("NFD", text) for text in vocabulary_of(code).requests.values()]
        assert all(set(marks) & set(sentence) for sentence in decomposed)
        assert code != "yo" or sum("\u0323" in sentence for sentence in decomposed) >= len(decomposed) - 1


@pytest.mark.parametrize("code", PAPER)
def test_nothing_stands_between_sentences_in_chinese_and_japanese_only(code: str) -> None:
    sentences = ["¤1", "¤2", "¤3", "¤4"]
    prompt = render("XStoryCloze", code, {"sentences": sentences, "endings": ["", ""]})
    assert ("" if code in ("ja", "zh") else " ").join(sentences) in prompt


@pytest.mark.parametrize("code", PAPER)
def test_names_and_relations_are_told_apart(code: str) -> None:
    vocabulary = vocabulary_of(code)
    assert len(set(vocabulary.names.values())) == len(vocabulary.names)
    assert len(set(relation_words(code))) == 3


@pytest.mark.parametrize("code", PAPER)
def test_every_request_is_taken_for_its_language(code: str) -> None:
    taken = {text: identifier().classify(text)[0] for text in vocabulary_of(code).requests.values()}
    assert set(taken.values()) == {code}, taken


@pytest.mark.parametrize("code", PAPER)
def test_every_prompt_of_an_example_is_taken_for_its_language(code: str) -> None:
    taken = {prompt: identifier().classify(prompt)[0] for _, prompt in example_prompts(code)}
    assert len(taken) == 24
    assert set(taken.values()) == {code}, [prompt for prompt, language in taken.items() if language != code]


@pytest.mark.parametrize("code", PAPER)
def test_examples_are_the_same_in_all_languages(code: str) -> None:
    """The same number of everything, and the same numbers in all texts."""
    english, own = (tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")) for name in ("en", code))
    assert shape_of(own) == shape_of(english)


def shape_of(value: Any) -> Any:
    if isinstance(value, str):
        return sorted(int(number) for number in re.findall(r"\d+", value))
    if isinstance(value, list):
        return [shape_of(part) for part in value]
    return {name: shape_of(part) for name, part in value.items()}


def test_the_page_of_prompts_is_up_to_date() -> None:
    assert (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8") == prompts_page(EXAMPLES), "run `make docs`"


def test_a_language_without_examples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"language 'ar': .*ar\.toml does not exist"):
        prompts_page(tmp_path)
