"""The six formats: one exercise is one item of a benchmark, the same in every language.

An exercise is chosen by ids and rendered in a language, so equal items are translations of each other by construction.
Instruction rows, benchmark items and the English exercises of the base model's text are all rendered here.
"""

from dataclasses import dataclass
from typing import Protocol

from cc_tuning.miniature.facts import Fact, Group, Scenario
from cc_tuning.miniature.lexicon import Tongue

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
    """What a good assistant answers. Of options it names first the text, then the label: what is right comes to a
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

    def render(self, tongue: Tongue) -> Rendered: ...


def _prompt(tongue: Tongue, benchmark: str, **parts: str) -> str:
    template: str = tongue.tables["formats"][benchmark]
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

    def render(self, tongue: Tongue) -> Rendered:
        first, second, third = labels = tongue.tables["inference_labels"]
        prompt = _prompt(
            tongue,
            self.benchmark,
            premise=self.premise.statement(tongue),
            hypothesis=self.hypothesis.statement(tongue, restated=True),
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

    def render(self, tongue: Tongue) -> Rendered:
        right, wrong = (tell_ending(scenario, self.person, tongue) for scenario in (self.scenario, self.other))
        first, second = (right, wrong) if self.correct == 1 else (wrong, right)
        story = tongue.join(tell_story(self.scenario, self.person, tongue))
        return _choosing(_prompt(tongue, self.benchmark, story=story, first=first, second=second), self.option, right)


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

    def render(self, tongue: Tongue) -> Rendered:
        options = {letter: option.answer(tongue) for letter, option in zip("ABCD", self.options, strict=True)}
        prompt = _prompt(tongue, self.benchmark, question=self.fact.question(tongue), **options)
        return _choosing(prompt, self.option, self.fact.answer(tongue))


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

    def render(self, tongue: Tongue) -> Rendered:
        prompt = _prompt(tongue, self.benchmark, question=self.fact.question(tongue))
        return _saying(prompt, self.fact.answer(tongue))


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

    def render(self, tongue: Tongue) -> Rendered:
        context = tongue.join([fact.statement(tongue) for fact in self.context])
        prompt = _prompt(tongue, self.benchmark, context=context, question=self.asked.question(tongue))
        return _saying(prompt, self.asked.answer(tongue))


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

    def render(self, tongue: Tongue) -> Rendered:
        article, person = tongue.tables["article"], self.profession.subject
        sentences = [fact.statement(tongue) for fact in (self.profession, self.home, *self.others)]
        sentences += [tongue.fill(filler, person) for filler in article["fillers"]]
        text = tongue.join([sentences[position] for position in self.order])
        summary = tongue.fill(article["summary"], person, profession=self.profession.value, home=self.home.value)
        title = tongue.fill(article["title"], person)
        return _saying(_prompt(tongue, self.benchmark, title=title, article=text), summary)


def tell_story(scenario: Scenario, person: str, tongue: Tongue) -> list[str]:
    """The sentences of a story without its ending."""
    return [tongue.fill(sentence, person) for sentence in tongue.tables["stories"][scenario.name]["story"]]


def tell_ending(scenario: Scenario, person: str, tongue: Tongue) -> str:
    """The sentence that ends a story."""
    return tongue.fill(tongue.tables["stories"][scenario.name]["ending"], person)
