"""What is counted beside the paper's rules: hand-made answers with their verdicts, slow references, properties."""

import csv
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.evaluation.benchmark import BEHAVIOUR
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.measures.behaviour import is_empty, repeats_prompt
from cc_tuning.evaluation.measures.choices import extract_choice
from cc_tuning.evaluation.measures.language import LANGUAGES, has_foreign_word, is_in_language
from cc_tuning.evaluation.measures.mkqa import mkqa_exact_match, mkqa_f1
from cc_tuning.evaluation.measures.numbers import extract_number
from cc_tuning.evaluation.measures.squad import squad_exact_match, squad_f1
from cc_tuning.evaluation.measures.summaries import chrf
from cc_tuning.evaluation.scorers import chooses_only
from cc_tuning.evaluation.scoring import score_predictions, score_response
from data_contracts.schemas import ItemScore
from tests.evaluation.test_scorers import SENTENCES
from tests.reference import answer_scores

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "benchmarks"


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table beside this file; `\\n` in an answer is a line break."""
    with Path(__file__).with_name(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [{**row, "response": row["response"].replace("\\n", "\n")} for row in csv.DictReader(file)]


WITH_OPTIONS = table("answers_with_options")
WITHOUT_OPTIONS = table("answers_without_options")
AS_THEY_LOOK = table("answers_as_they_look")


def named(row: dict[str, str]) -> str:
    return f"{row['language']}: {row['response'][:30]}"


@pytest.mark.parametrize("row", WITH_OPTIONS, ids=named)
def test_an_answer_chooses_what_the_table_says(row: dict[str, str]) -> None:
    texts = row["choices"].split("|") if row["choices"] else None
    assert extract_choice(row["response"], row["options"], texts).option == (row["chosen"] or None)
    assert 100 * chooses_only(row["response"], row["gold"], row["options"]) == float(row["accuracy"])


@pytest.mark.parametrize("row", WITHOUT_OPTIONS, ids=named)
def test_an_answer_without_options_gets_the_figures_of_the_table(row: dict[str, str]) -> None:
    scores = score_response(
        BENCHMARKS[row["benchmark"]], row["response"], row["gold"].split("|"), language=row["language"]
    )
    any_digits = scores.pop("accuracy_any_digits", scores["accuracy"])
    expected = [float(row[name]) for name in ("accuracy", "exact", "f1_or_extracted")]
    assert list(scores.values()) == pytest.approx(expected, abs=1e-3)
    assert any_digits >= scores["accuracy"]


@pytest.mark.parametrize("row", AS_THEY_LOOK, ids=named)
def test_an_answer_looks_as_the_table_says(row: dict[str, str]) -> None:
    expected = None if row["in_language"] == "" else row["in_language"] == "100"
    assert is_in_language(row["response"], row["language"]) is expected
    assert is_empty(row["response"]) == (row["empty"] == "100")


def test_the_tables_hold_200_answers_in_all_22_languages() -> None:
    assert len(WITH_OPTIONS) >= 200
    assert {row["language"] for row in WITH_OPTIONS} == {row["language"] for row in AS_THEY_LOOK} == set(LANGUAGES)
    assert set(LANGUAGES) == set(SENTENCES)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (r"\boxed{B}", "boxed"), ("Answer: B", "stated"), ("(B)", "label"), ("I think it is B", "mentioned"),
        ("Rome", "text"), ("A or B", "several"), ("It depends.", "nothing"),
    ],
)  # fmt: skip
def test_a_choice_says_what_decided_it(response: str, reason: str) -> None:
    assert extract_choice(response, "ABCD", ["Paris", "Rome", "Bonn", "Oslo"]).reason == reason


@pytest.mark.parametrize("options", ["12", "123", "ABCD"])
def test_an_option_alone_is_chosen_in_every_common_dress(options: str) -> None:
    for option in options:
        for dress in ("{}", "({})", "{}.", "**{}**", "Answer: {}", "\\boxed{{{}}}", "[{}]", "{}\n"):
            assert extract_choice(dress.format(option), options).option == option, dress


@given(st.text(), st.sampled_from(["123", "ABCD"]), st.text(alphabet=" \n\t\u00a0", max_size=5))
def test_blanks_around_an_answer_change_no_choice_and_no_number(text: str, options: str, blanks: str) -> None:
    padded = blanks + text + blanks
    assert extract_choice(padded, options) == extract_choice(text, options)
    assert extract_number(padded, "fr") == extract_number(text, "fr")


@given(st.text(alphabet="AB12 .,:()\n*'-orand答案是번ба", max_size=40), st.sampled_from(["12", "ABCD"]))
def test_a_choice_is_one_of_the_options_or_says_why_there_is_none(text: str, options: str) -> None:
    choice = extract_choice(text, options)
    assert choice.option in options if choice.option else choice.reason in ("several", "nothing")


@given(st.integers(-(10**9), 10**9), st.sampled_from(["en", "de", "fr", "hi"]), st.sampled_from(["0٠", "0०", "00"]))
def test_a_number_is_read_in_any_digits_and_grouping(value: int, language: str, digits: str) -> None:
    shift = ord(digits[1]) - ord(digits[0])
    separator = {"en": ",", "de": ".", "fr": " ", "hi": ","}[language]
    written = f"{value:,}".replace(",", separator)
    written = "".join(chr(ord(sign) + shift) if sign.isdigit() else sign for sign in written)
    assert extract_number(f"= {written}.", language) == value


def question_answer_pairs() -> list[tuple[str, str, list[str]]]:
    """1,000 answers (language, response, gold): gold answers, their neighbours, parts and prompts.

    Of the published items where they are beside this checkout, else of sentences in 22 languages.
    """
    generator = random.Random(5)
    if PUBLISHED.is_dir():
        rows = [row for name in ("mkqa", "xquad") for row in pl.read_parquet(PUBLISHED / f"{name}.parquet").to_dicts()]
        items = [(row["language"], list(row["answers"]), row["prompt"]) for row in rows]
    else:
        items = [(code, [text[:-1], *text.split()], f"{text} {code}") for code, text in SENTENCES.items()]
    pairs = []
    for _ in range(1000):
        language, gold, prompt = generator.choice(items)
        other = generator.choice([item for item in items if item[0] == language])
        words = gold[0].split() + other[1][0].split()
        generator.shuffle(words)
        response = generator.choice(
            [gold[-1], f"The {gold[0]}!", f"«{gold[0]}», la {other[1][0]}", " ".join(words), prompt[-80:], "", "de les"]
        )
        pairs.append((language, response, gold))
    return pairs


def test_official_figures_equal_a_slow_reference_on_1000_answers() -> None:
    pairs = question_answer_pairs()
    figures = []
    for language, response, gold in pairs:
        squad = squad_exact_match(response, gold), squad_f1(response, gold)
        mkqa = mkqa_exact_match(response, gold, language), mkqa_f1(response, gold, language)
        assert squad == pytest.approx(answer_scores.squad(response, gold)), (response, gold)
        assert mkqa == pytest.approx(answer_scores.mkqa(response, gold, language)), (language, response, gold)
        figures.append((*squad, *mkqa))
    # The answers are neither all right nor all wrong.
    assert all(10 < sum(values) / len(pairs) < 90 for values in zip(*figures, strict=True))


@pytest.mark.parametrize("language", SENTENCES)
def test_the_gold_answer_itself_has_every_official_figure_at_100(language: str) -> None:
    gold = [SENTENCES[language]]
    for blanks in ("", "  ", "\n"):
        response = blanks + gold[0] + blanks
        assert squad_exact_match(response, gold) == squad_f1(response, gold) == 100
        assert mkqa_exact_match(response, gold, language) == mkqa_f1(response, gold, language) == 100
    assert chrf(gold[0], gold) == pytest.approx(100)


def test_chrf_counts_characters_and_words_against_the_best_reference() -> None:
    assert chrf("abc", ["xyz"]) == 0
    assert chrf("the cat", ["a dog", "the cat"]) == pytest.approx(100)
    assert 0 < chrf("केन्या की राजधानी", ["केन्या राजधानी है"]) < 100


def test_a_copied_passage_repeats_the_prompt_and_a_quoted_gold_answer_does_not() -> None:
    passage = " ".join(f"word{number}" for number in range(40))
    prompt = f"Read this.\n{passage}\nWhat is word7?"
    copied = " ".join(passage.split()[5:20])
    assert repeats_prompt(copied, prompt, ["word7"])
    assert repeats_prompt(copied.upper(), prompt, ["word7"])
    assert not repeats_prompt(copied, prompt, [copied])
    assert not repeats_prompt(" ".join(passage.split()[5:14]), prompt, [])  # nine words
    half = f"{copied} {' '.join(f'other{number}' for number in range(15))}"
    assert repeats_prompt(half, prompt, [])
    assert not repeats_prompt(f"{half} more", prompt, [])
    assert not repeats_prompt(" ".join(reversed(copied.split())), prompt, [])


def test_a_passage_without_blanks_is_found_by_its_words() -> None:
    prompt = "肯尼亚的首都是内罗毕，这是一座很大的城市，人口很多。问题：首都在哪里？"
    assert repeats_prompt("肯尼亚的首都是内罗毕，这是一座很大的城市", prompt, ["内罗毕"])


def test_a_language_that_nothing_can_tell_is_not_judged() -> None:
    assert is_in_language("some text that is long enough to be judged", "xx") is None


@pytest.mark.parametrize(
    ("text", "code", "verdict"),
    [
        ("Столица Кении — это город Найроби, capital города", "ru", True),
        ("Столица Кении — это город Найроби (Nairobi, NASA, км, mp3)", "ru", False),
        ("Столица Кении — это город Найроби, question", "ru", False),  # the prompt has it
        ("कीनिया की राजधानी नैरोबी बहुत बड़ा शहर है, बहुत beautiful", "hi", True),
        ("The capital of Kenya is the city of Nairobi", "hi", None),  # wholly in another language
        ("Die Hauptstadt von Kenia ist die Stadt Nairobi", "de", None),
        ("Столица", "ru", None),
    ],
)
def test_latin_words_are_seen_in_answers_of_other_scripts(text: str, code: str, verdict: bool | None) -> None:
    assert has_foreign_word(text, code, "question: Столица?") is verdict


def predicted(benchmark: str, language: str, response: str, *, stopped: bool = True) -> dict[str, object]:
    key = {"run": "r", "connection": "off", "benchmark": benchmark, "language": language, "item_id": benchmark.lower()}
    counts = {"prompt_tokens": 3, "new_tokens": 4, "stopped": stopped, "selected_layer": None}
    return {**key, "response": response, **counts}


def item(benchmark: str, language: str, answers: list[str], choices: list[str] | None) -> dict[str, object]:
    key = {"benchmark": benchmark, "language": language, "item_id": benchmark.lower(), "prompt": "Which?"}
    return {**key, "answers": answers, "choices": choices, "group": None, "cluster": "c1"}


def test_every_written_answer_has_its_own_figures_and_those_of_its_looks() -> None:
    predictions = pl.DataFrame(
        [
            predicted("MMMLU", "hi", "ख", stopped=False),
            predicted("MKQA", "de", "Die Hauptstadt von Kenia ist Nairobi."),
            predicted("BELEBELE", "en", "The Rome one"),
        ]
    )
    items = pl.DataFrame(
        [
            item("MMMLU", "hi", ["B"], None),
            item("MKQA", "de", ["Nairobi"], None),
            item("BELEBELE", "en", ["B"], ["Paris", "Rome", "Bonn", "Oslo"]),
        ],
        schema_overrides={"choices": pl.List(pl.String), "group": pl.String},
    )
    scores = ItemScore.validate(score_predictions(predictions, items), cast=True)
    assert set(scores["cluster"]) == {"c1"}
    found = {
        (benchmark, metric): value
        for benchmark, metric, value in scores.select(pl.col("benchmark").cast(pl.String), "metric", "value").rows()
    }
    assert found["MMMLU", "accuracy"] == 0
    assert found["MMMLU", "accuracy_extracted"] == found["MMMLU", "extracted"] == found["MMMLU", "cut"] == 100
    assert found["BELEBELE", "accuracy_extracted"] == 100
    assert found["MKQA", "in_language"] == 100
    assert ("MMMLU", "in_language") not in found  # one letter tells nothing
    for benchmark in ("MMMLU", "MKQA", "BELEBELE"):
        own = {metric.name for metric in BENCHMARKS[benchmark].metrics}
        looks = {metric.name for metric in BEHAVIOUR} - {"in_language", "foreign_words"}
        assert {metric for name, metric in found if name == benchmark} - {"in_language"} == own | looks
