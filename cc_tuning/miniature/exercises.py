"""The six formats: one exercise is one item of a benchmark, the same in every language.

An exercise is chosen by ids and rendered in a language, so equal items are translations of each other by construction.
Instruction rows, benchmark items and the English exercises of the base model's text are all rendered here.
"""

from dataclasses import dataclass
from typing import Protocol

from cc_tuning.miniature.facts import Fact, Group, Scenario
from cc_tuning.miniature.lexicon import LanguageTables

CHOICES_KINDS = {
    "XNLI": "option_number_1_3",
    "XStoryCloze": "option_number_1_2",
    "MMMLU": "option_letter_A_D",
    "MKQA": "answer_aliases",
    "XQuAD": "context_span",
    "XLSum": "reference_summary",
}


@dataclass(frozen=True)
class Rendered:
    """An exercise in one language."""

    prompt: str
    answers: tuple[str, ...]
    response: str
    """The answer of a good assistant. Of options it names first the text, then the label: what is right comes to a
    language model before where it stands, and naming both asks less of a tiny one."""


class Exercise(Protocol):
    """One item, language not yet chosen."""

    @property
    def benchmark(self) -> str: ...

    @property
    def group(self) -> Group: ...

    @property
    def option(self) -> str:
        """The right option, the same in every language; empty where the answer is free text."""
        ...

    def render(self, language: LanguageTables) -> Rendered: ...


def _prompt(language: LanguageTables, benchmark: str, **parts: str) -> str:
    template: str = language.entries["formats"][benchmark]
    return template.format(**parts)


def _choosing(prompt: str, option: str, text: str) -> Rendered:
    return Rendered(prompt, (option,), f"{text} ({option})")


def _saying(prompt: str, answer: str) -> Rendered:
    return Rendered(prompt, (answer,), answer)


@dataclass(frozen=True)
class Inference:
    """XNLI: does the hypothesis follow from the premise (1), stand beside it (2) or contradict it (3)?"""

    premise: Fact
    hypothesis: Fact
    label: int
    benchmark: str = "XNLI"

    @property
    def group(self) -> Group:
        return self.premise.group

    @property
    def option(self) -> str:
        return str(self.label)

    def render(self, language: LanguageTables) -> Rendered:
        first, second, third = labels = language.entries["inference_labels"]
        prompt = _prompt(
            language,
            self.benchmark,
            premise=self.premise.statement(language),
            hypothesis=self.hypothesis.statement(language, restated=True),
            first=first,
            second=second,
            third=third,
        )
        return _choosing(prompt, self.option, labels[self.label - 1])


@dataclass(frozen=True)
class StoryCloze:
    """XStoryCloze: which of two endings belongs to the story? `correct` is 1 or 2."""

    scenario: Scenario
    other: Scenario
    person: str
    correct: int
    benchmark: str = "XStoryCloze"

    @property
    def group(self) -> Group:
        return self.scenario.group

    @property
    def option(self) -> str:
        return str(self.correct)

    def render(self, language: LanguageTables) -> Rendered:
        right, wrong = (tell_ending(scenario, self.person, language) for scenario in (self.scenario, self.other))
        first, second = (right, wrong) if self.correct == 1 else (wrong, right)
        story = language.join(tell_story(self.scenario, self.person, language))
        return _choosing(_prompt(language, self.benchmark, story=story, first=first, second=second), self.option, right)


@dataclass(frozen=True)
class MultipleChoice:
    """MMMLU: four values, one of them the fact's."""

    fact: Fact
    options: tuple[Fact, Fact, Fact, Fact]
    benchmark: str = "MMMLU"

    @property
    def group(self) -> Group:
        return self.fact.group

    @property
    def option(self) -> str:
        return "ABCD"[self.options.index(self.fact)]

    def render(self, language: LanguageTables) -> Rendered:
        options = {letter: option.answer(language) for letter, option in zip("ABCD", self.options, strict=True)}
        prompt = _prompt(language, self.benchmark, question=self.fact.question(language), **options)
        return _choosing(prompt, self.option, self.fact.answer(language))


@dataclass(frozen=True)
class OpenQuestion:
    """MKQA: the question alone; the answer has to be known."""

    fact: Fact
    benchmark: str = "MKQA"

    @property
    def group(self) -> Group:
        return self.fact.group

    @property
    def option(self) -> str:
        return ""

    def render(self, language: LanguageTables) -> Rendered:
        prompt = _prompt(language, self.benchmark, question=self.fact.question(language))
        return _saying(prompt, self.fact.answer(language))


@dataclass(frozen=True)
class Reading:
    """XQuAD: a few sentences, and a question about one of them."""

    context: tuple[Fact, ...]
    asked: Fact
    benchmark: str = "XQuAD"

    @property
    def group(self) -> Group:
        return self.asked.group

    @property
    def option(self) -> str:
        return ""

    def render(self, language: LanguageTables) -> Rendered:
        context = language.join([fact.statement(language) for fact in self.context])
        prompt = _prompt(language, self.benchmark, context=context, question=self.asked.question(language))
        return _saying(prompt, self.asked.answer(language))


@dataclass(frozen=True)
class Summary:
    """XLSum: a title and a few sentences about a person; the summary tells profession and home."""

    profession: Fact
    home: Fact
    others: tuple[Fact, ...]
    order: tuple[int, ...]
    """The order of the article's sentences: profession, home, then `others`, then the language's filler sentences."""
    benchmark: str = "XLSum"

    @property
    def group(self) -> Group:
        return self.profession.group

    @property
    def option(self) -> str:
        return ""

    def render(self, language: LanguageTables) -> Rendered:
        article, person = language.entries["article"], self.profession.subject
        sentences = [fact.statement(language) for fact in (self.profession, self.home, *self.others)]
        sentences += [language.fill(filler, person) for filler in article["fillers"]]
        text = language.join([sentences[position] for position in self.order])
        summary = language.fill(article["summary"], person, profession=self.profession.value, home=self.home.value)
        title = language.fill(article["title"], person)
        return _saying(_prompt(language, self.benchmark, title=title, article=text), summary)


def tell_story(scenario: Scenario, person: str, language: LanguageTables) -> list[str]:
    """The sentences of a story without its ending."""
    return [language.fill(sentence, person) for sentence in language.entries["stories"][scenario.name]["story"]]


def tell_ending(scenario: Scenario, person: str, language: LanguageTables) -> str:
    """The sentence that ends a story."""
    return language.fill(language.entries["stories"][scenario.name]["ending"], person)
