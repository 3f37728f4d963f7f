"""When an answer is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.measures.summaries import rouge_l, rouge_l_ascii
from cc_tuning.evaluation.scorers import chooses_only, contains_gold, mentioned_options, normalised
from cc_tuning.evaluation.scoring import score_response
from data_contracts import schemas

# One sentence per language of the six benchmarks.
SENTENCES = {
    "ar": "القاهرة هي عاصمة مصر.",
    "bn": "ঢাকা বাংলাদেশের রাজধানী।",
    "de": "Größere Städte liegen am Fluss.",
    "el": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "en": "The capital of Kenya is Nairobi.",
    "es": "El niño comió en la montaña.",
    "eu": "Bilbo hiri handia da Euskal Herrian.",
    "fr": "Le garçon a mangé à l'école.",
    "hi": "केन्या की राजधानी नैरोबी है।",
    "id": "Ibu kota Kenya adalah Nairobi.",
    "ja": "ケニアの首都はナイロビです。",
    "ko": "케냐의 수도는 나이로비이다.",
    "pt": "A irmã comprou pão na praça.",
    "ru": "Столица Кении — Найроби.",
    "sw": "Mji mkuu wa Kenya ni Nairobi.",
    "te": "కెన్యా రాజధాని నైరోబి.",
    "th": "เมืองหลวงของเคนยาคือไนโรบี",
    "tr": "Kenya'nın başkenti İstanbul değildir.",
    "ur": "کینیا کا دارالحکومت نیروبی ہے۔",
    "vi": "Thủ đô của Kenya là Nairobi.",
    "yo": "Olú ìlú orílẹ̀-èdè Kẹ́ńyà ni Nàìróbì.",
    "zh": "肯尼亚的首都是内罗毕。",
}
# Languages with few or no ASCII letters: the stock tokenizer sees nothing in them.
OTHER_SCRIPTS = {"ar", "bn", "el", "hi", "ja", "ko", "ru", "te", "th", "ur", "zh"}


@pytest.mark.parametrize(
    ("response", "mentioned"),
    [
        ("1", "1"), ("(1)", "1"), ("1.", "1"), ("1) yes", "1"), ("Answer:2", "2"), ("[3]", "3"), ("**2**", "2"),
        ("The answer is 2.", "2"), ("2\n", "2"), ("1 or 2", "12"), ("(1)-(2)", "12"), ("1.Entailment", "1"),
        ("2'dir", "2"), ("1️⃣", "1"), ("①", "1"), ("（３）", "3"), ("３", "3"),
        # digits of other scripts
        ("١", "1"), ("الجواب هو ٢", "2"), ("उत्तर (२) है", "2"), ("উত্তর ৩", "3"), ("๒", "2"),
        # scripts that write no blank around a number
        ("答案是2", "2"), ("选项1。", "1"), ("답은 2번입니다", "2"), ("คำตอบคือ2", "2"), ("الخيار2", "2"),
        # inside numbers and words
        ("12", ""), ("2011", ""), ("1.5", ""), ("0.2", ""), ("2,000", ""), ("3:10", ""), ("1/2", ""), ("½", ""),
        ("1-3", ""), ("2020-1-3", ""), ("1st", ""), ("H2O", ""), ("m²", ""), ("x_1", ""), ("1'000", ""), ("٢٠", ""),
        ("In 2011, option 3", "3"), ("", ""), ("none", ""),
    ],
)  # fmt: skip
def test_numbered_options(response: str, mentioned: str) -> None:
    assert mentioned_options(response, "123") == set(mentioned)


@pytest.mark.parametrize(
    ("response", "mentioned"),
    [
        ("A", "A"), ("(A)", "A"), ("B.", "B"), ("C) Paris", "C"), ("Answer: D", "D"), ("B.Paris", "B"), ("Ｂ", "B"),
        ("Ⓒ", "C"), ("答案是A", "A"), ("정답은 B입니다", "B"), ("উত্তর (C)", "C"), ("A and B", "AB"), ("A'dır", "A"),
        ("A, B", "AB"), ("(B) A dog", "AB"),
        # words and abbreviations
        ("Band", ""), ("BAD", ""), ("a", ""), ("el a la casa", ""), ("U.S.A.", ""), ("Washington D.C.", ""),
        ("B-52", ""), ("A-team", ""), ("B12", ""), ("R&B", ""), ("É", ""), ("ÀB", ""),
        ("\u0410", ""),  # the Cyrillic letter that looks like A
    ],
)  # fmt: skip
def test_lettered_options(response: str, mentioned: str) -> None:
    assert mentioned_options(response, "ABCD") == set(mentioned)


def test_right_means_the_right_option_and_no_other() -> None:
    assert chooses_only("The answer is (2).", "2", "123")
    assert not chooses_only("(1) or (2)", "2", "123")
    assert not chooses_only("(1)", "2", "123")
    assert not chooses_only("I do not know", "2", "123")
    assert chooses_only("(1), in 2023", "1", "12")


@pytest.mark.parametrize(
    ("response", "answers", "right"),
    [
        ("It is Nairobi.", ["nairobi"], True),
        ("ＮＡＩＲＯＢＩ", ["Nairobi"], True),
        ("answer: 136 次!", [" 136 次 "], True),
        ("STRASSE", ["Straße"], True),
        ("İSTANBUL", ["istanbul"], True),
        ("ISPARTA", ["ısparta"], True),
        ("cafe\u0301 noir", ["Café"], True),
        ("क\u093c", ["\u0958"], True),
        ("سل\u200fام", ["سلام"], True),
        ("New\n  York", ["new york"], True),
        ("no", ["yes", "no"], True),
        ("It is 3", ["3.0"], False),
        ("anything", ["  "], False),
        ("", ["x"], False),
    ],
)
def test_gold_answer_appears(response: str, answers: list[str], right: bool) -> None:
    assert contains_gold(response, answers) is right


@given(st.integers(0, 10**6), st.sampled_from("٠۰०০๐౦"), st.text(alphabet="ab ", max_size=4))
def test_digits_of_every_script_are_one_number_where_any_digits_count(number: int, zero: str, before: str) -> None:
    native = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    for response, gold in ((f"{before}{native}", str(number)), (f"{before}{number}", native)):
        assert contains_gold(response, [gold], any_digits=True)
        assert not contains_gold(response, [gold])


@given(st.text(), st.text(), st.text())
def test_gold_inside_other_text_is_found(before: str, gold: str, after: str) -> None:
    text = normalised(gold)
    if text and not text[0].isspace():
        assert contains_gold(f"{before} | {text} | {after}", [text])


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize("language", SENTENCES)
def test_a_text_has_rouge_100_with_itself_in_every_language(language: str) -> None:
    sentence = SENTENCES[language]
    assert rouge_l(sentence, [sentence]) == 100
    assert rouge_l(f"😀 «{sentence}»", [sentence]) == 100
    if language in OTHER_SCRIPTS:
        assert rouge_l_ascii(sentence, [sentence]) == 0


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    # common subsequence "the cat on mat": 4 of 5 response words, 4 of 6 reference words
    expected = 100 * 2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6)
    assert rouge_l("the cat on red mat", ["the cat sat on the mat"]) == pytest.approx(expected)
    assert rouge_l("", ["words"]) == 0
    assert rouge_l("x", ["y", "x"]) == 100


def test_every_language_of_the_benchmarks_has_a_sentence_here() -> None:
    assert {code for row in BENCHMARKS.values() for code in row.paper_languages} == set(SENTENCES)
    assert tuple(BENCHMARKS) == schemas.BENCHMARKS


@pytest.mark.parametrize(
    ("benchmark", "response", "answers", "scores"),
    [
        ("XNLI", "(3)", ["3"], {"accuracy": 100, "accuracy_extracted": 100, "extracted": 100}),
        ("XStoryCloze", "3", ["1"], {"accuracy": 0, "accuracy_extracted": 0, "extracted": 0}),
        ("MMMLU", "A, not B: **A**", ["A"], {"accuracy": 0, "accuracy_extracted": 100, "extracted": 100}),
        (
            "MKQA", "in 1969", ["1969", "nineteen"],
            {"accuracy": 100, "accuracy_any_digits": 100, "mkqa_em": 0, "mkqa_f1": 200 / 3},
        ),
        (
            "XQuAD", "sind ١٩٦٩ m", ["1969 m"], {"accuracy": 0, "accuracy_any_digits": 100, "exact_match": 0, "f1": 40},
        ),
        ("XLSum", "नैरोबी", ["नैरोबी"], {"rougeL": 100, "rougeL_ascii": 0, "chrf": 100}),
        ("MGSM", "7 + 11 = १८", ["18"], {"accuracy": 0, "accuracy_extracted": 100, "extracted": 100}),
    ],
)  # fmt: skip
def test_each_benchmark_scores_by_its_rule(
    benchmark: str, response: str, answers: list[str], scores: dict[str, float]
) -> None:
    assert score_response(BENCHMARKS[benchmark], response, answers) == pytest.approx(scores)
