"""Every sentence of the world in every language: whole, and in the script of its language."""

import random

import pytest
import regex

from cc_tuning.miniature.exercise_draws import draw_all, pools
from cc_tuning.miniature.exercises import CHOICES_KINDS, tell_ending, tell_story
from cc_tuning.miniature.facts import make_facts, make_scenarios, make_strangers
from cc_tuning.miniature.lexicon import LANGUAGES, language_tables, world_tables

_LETTERS = {"en": "Latin", "es": "Latin", "sw": "Latin", "hi": "Devanagari", "zh": "Han", "ar": "Arabic"}
_PEOPLE = 24
_FACTS = make_facts(0, _PEOPLE)
_SCENARIOS = make_scenarios(0)
_POOLS = pools(_FACTS, make_strangers(0, _PEOPLE), _SCENARIOS)


def _sentences(code: str) -> list[str]:
    language = language_tables(code)
    sentences = [
        text
        for fact in _FACTS
        for text in (fact.statement(language), fact.statement(language, restated=True), fact.question(language))
    ]
    for scenario in _SCENARIOS:
        for person in world_tables().given_names:
            sentences += [*tell_story(scenario, person, language), tell_ending(scenario, person, language)]
    return sentences


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_sentence_has_an_open_slot_or_an_undecided_agreement(code: str) -> None:
    for sentence in _sentences(code):
        assert not regex.search(r"[{}\[\]/]|\s\s|^\s|\s$", sentence), sentence


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_letter_belongs_to_the_script_of_the_language(code: str) -> None:
    foreign = regex.compile(rf"(?![\p{{{_LETTERS[code]}}}\p{{Inherited}}\p{{Common}}])\p{{L}}")
    for sentence in _sentences(code):
        assert not foreign.search(sentence), sentence


@pytest.mark.parametrize("code", LANGUAGES)
def test_names_and_words_of_one_kind_are_told_apart(code: str) -> None:
    language, tables = language_tables(code), world_tables()
    people = tuple(dict.fromkeys(fact.subject for fact in make_facts(0, 240) if fact.relation == "pet"))
    for kind in (tuple(tables.given_names), people, tuple(tables.countries)):
        written = [language.forms(name)["word"] for name in kind]
        assert len(set(written)) == len(written)
    for relation in tables.relations.values():
        subject = "amina" if relation.subject_kind == "person" else "kenya"
        written = [language.fill("{value}", subject, value=value) for value in relation.values]
        assert len(set(written)) == len(written)


@pytest.mark.parametrize("code", LANGUAGES)
def test_an_answer_stands_word_for_word_in_its_statement(code: str) -> None:
    language = language_tables(code)
    for fact in _FACTS:
        assert fact.answer(language) in fact.statement(language)


@pytest.mark.parametrize(
    ("code", "woman", "man"),
    [
        ("es", "Clara es médica.", "Carlos es médico."),
        ("hi", "क्लारा पेरिस में रहती है।", "कार्लोस पेरिस में रहता है।"),
        ("ar", "تعيش كلارا في باريس.", "يعيش كارلوس في باريس."),
        ("sw", "Clara ni daktari.", "Carlos ni daktari."),
    ],
)
def test_verbs_and_professions_agree_with_the_person(code: str, woman: str, man: str) -> None:
    language = language_tables(code)
    relation, value = ("profession", "doctor") if code in ("es", "sw") else ("home", "paris")
    template = language.entries["relations"][relation]["statement"]
    assert language.fill(template, "clara", value=value) == woman
    assert language.fill(template, "carlos", value=value) == man


def test_countries_have_their_own_gender_in_arabic() -> None:
    language = language_tables("ar")
    template = language.entries["relations"]["continent"]["statement"]
    assert language.fill(template, "morocco", value="africa").startswith("يقع ")
    assert language.fill(template, "kenya", value="africa").startswith("تقع ")


@pytest.mark.parametrize("benchmark", CHOICES_KINDS)
def test_every_exercise_renders_in_every_language_with_one_right_option(benchmark: str) -> None:
    for exercise in draw_all(benchmark, 12, _POOLS["test"], random.Random(1)):
        for code in LANGUAGES:
            rendered = exercise.render(language_tables(code))
            assert not regex.search(r"[{}\[\]]", rendered.prompt + rendered.response)
            if exercise.option:
                assert rendered.answers == (exercise.option,)
                label, option_line = f"({exercise.option})", rendered.response.rsplit(" (", 1)[0]
                assert f"{label} {option_line}" in rendered.prompt
            elif benchmark == "XQuAD":
                assert rendered.answers[0] in rendered.prompt
