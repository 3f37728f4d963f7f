"""Each check finds its fault and leaves good translations alone."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.text.languages import (
    ENGLISH,
    UnknownLanguage,
    all_languages,
    by_flores_code,
    find_language,
    is_mostly_outside,
)
from cc_tuning.translation.numbers import invented_numbers, lost_numbers
from cc_tuning.translation.quality import PENALTIES, Segment, flags_of, is_length_unlikely, mean_score, segment_score

PROFESSIONAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "parallel" / "ntrex_40x63.parquet"


needs_professional_pairs = pytest.mark.skipif(
    not PROFESSIONAL.is_file(), reason=f"{PROFESSIONAL} is not here: real pairs cannot be tried"
)
SPANISH = find_language("spa")


def flags(source: str, english: str, code: str = "spa") -> tuple[str, ...]:
    return flags_of(Segment(source, english, find_language(code), ENGLISH))


def flags_from_english(english: str, translation: str, code: str) -> tuple[str, ...]:
    return flags_of(Segment(english, translation, ENGLISH, find_language(code)))


@pytest.mark.parametrize(
    ("code", "source", "english"),
    [
        ("spa", "La casa es roja.", "The house is red."),
        ("zho", "你好，世界！", "Hello, world!"),
        ("hin", "भारत १५ अगस्त १९४७ को आज़ाद हुआ।", "India became free on 15 August 1947."),
        ("arb", "عدد السكان ١٠٬٠٠٠ نسمة", "The population is 10,000."),
        ("jpn", "10月5日に25万人が来た。", "On October 5, 250,000 people came."),
        ("spa", "Tres casas y 25 mil personas", "3 houses and 25,000 people"),
        ("deu", "Im Jahr 2018 kostete es 1.234,56 Euro.", "In 2018 it cost 1,234.56 euros."),
        ("fra", "le XIXe siècle, 10 000 francs", "the 19th century, 10,000 francs"),
        ("spa", "Ana García Márquez", "Ana García Márquez"),
        ("spa", "¡No, no, no, no, no, no, no!", "No, no, no, no, no, no, no!"),
        ("zho", "哈哈哈哈哈哈哈哈", "Ha ha ha ha ha ha ha ha"),
        ("spa", "Machine learning is the study of algorithms", "Machine learning is the study of algorithms"),
        ("spa", "Sí", "Yes"),
        ("tha", "สวัสดีครับ", "Hello"),
    ],
)
def test_good_translation_has_no_flag(code: str, source: str, english: str) -> None:
    assert flags(source, english, code) == ()


@pytest.mark.parametrize(
    ("flag", "code", "source", "english"),
    [
        ("empty", "spa", "Hola", " \u2003"),
        ("copied", "hin", "घर  लाल है", "घर लाल है"),
        ("copied", "spa", "La casa de mi hermana es muy roja.", "la casa de mi hermana es muy roja."),
        ("not_english", "hin", "घर", "घरों में"),
        ("not_english", "spa", "El gato come pan.", "Katten äter bröd i köket varje morgon innan skolan börjar."),
        ("repetition", "spa", "El gato.", "The cat the cat the cat the cat."),
        ("repetition", "spa", "Lo siento.", "I am sorry, but I am sorry, but I am sorry, but I"),
        ("repetition", "tha", "แมว", "hahahahahahahahahahahahahahahahahahahaha"),
        ("length_ratio", "spa", "Hola", "Hello and welcome to all of you who came today"),
        ("length_ratio", "spa", "La casa de mi hermana es roja y está al lado del río. " * 2, "House."),
        ("length_ratio", "zho", "我们昨天在北京的一家小餐馆里吃了一顿非常好吃的晚饭，然后又去看了一场电影。", "We."),
        ("numbers", "hin", "वह १९४७ में आया", "He came"),
        ("numbers", "spa", "Vino en mayo.", "He came in May 1987."),
        ("numbers", "spa", "Cuesta 25 pesos", "It costs 26 pesos"),
    ],
)
def test_each_fault_is_flagged(flag: str, code: str, source: str, english: str) -> None:
    assert flag in flags(source, english, code)


@pytest.mark.parametrize(
    ("code", "english", "translation"),
    [
        ("spa", "The house is red.", "La casa es roja."),
        ("zho", "Hello, world!", "你好，世界！"),
        ("zho", "25 people came on 14 October.", "十月十四日，来了二十五人。"),
        ("spa", "the 19th century", "el siglo XIX"),
        ("hin", "India became free on 15 August 1947.", "भारत १५ अगस्त १९४७ को आज़ाद हुआ।"),
        ("spa", "Ana García Márquez", "Ana García Márquez"),
        ("spa", "La casa de mi hermana mayor es roja y grande.", "La casa de mi hermana mayor es roja y grande."),
        # py3langid does not know Wolof and takes it for another language.
        ("wol", "The children went to school this morning.", "Xale yi dem nañu ca lekkool ba ci suba si ñoom ñépp."),
        ("arb", "No, no, no, no, no, no, no!", "لا، لا، لا، لا، لا، لا، لا!"),
    ],
)
def test_good_translation_from_english_has_no_flag(code: str, english: str, translation: str) -> None:
    assert flags_from_english(english, translation, code) == ()


@pytest.mark.parametrize(
    ("flag", "code", "english", "translation"),
    [
        ("empty", "hin", "Hello", ""),
        ("copied", "hin", "The house is red.", "the house is red."),
        ("copied", "spa", "The house of my sister is very red.", "The house of my sister is very red."),
        ("copied", "yor", "The house of my sister is very red.", "The house of my sister is very red."),
        ("wrong_language", "hin", "house", "maison"),
        ("wrong_language", "spa", "The cat eats.", "Katten äter bröd i köket varje morgon innan skolan börjar."),
        ("wrong_language", "rus", "The house is red.", "घर लाल है"),
        ("repetition", "spa", "I am sorry.", "Lo siento, pero lo siento, pero lo siento, pero lo siento, pero"),
        ("repetition", "zho", "The cat.", "猫在家里吃面包" + "猫和狗" * 12),
        (
            "length_ratio",
            "spa",
            "Hello",
            "Hola y bienvenidos a todos los que han venido hoy aquí desde muy lejos con sus amigos",
        ),
        ("length_ratio", "zho", "Yesterday we ate in a small restaurant and then we went to see a film again.", "我"),
        ("numbers", "hin", "He came in 1947", "वह आया"),
        ("numbers", "zho", "He came.", "他1987年来了。"),
        ("numbers", "spa", "It costs 26 pesos", "Cuesta 25 pesos"),
    ],
)
def test_each_fault_is_flagged_from_english(flag: str, code: str, english: str, translation: str) -> None:
    found = flags_from_english(english, translation, code)
    assert flag in found
    assert "not_english" not in found


@given(source=st.text(max_size=80), english=st.text(max_size=80), code=st.sampled_from(["hin", "zho", "spa", "kor"]))
def test_length_is_judged_the_same_whichever_text_was_translated(source: str, english: str, code: str) -> None:
    segment = Segment(source, english, find_language(code), ENGLISH)
    assert is_length_unlikely(segment) == is_length_unlikely(turned(segment))


def test_two_languages_that_are_not_english_are_compared_by_the_english_of_both() -> None:
    """20 Han characters may be 16 - 20 to 120 + 20 English ones, and those 34 to 483 Spanish ones, less the slack."""
    chinese, longest = "我" * 20, int((6 * 20 + 20 + 20) / 0.33)
    zho = find_language("zho")
    assert not is_length_unlikely(Segment(chinese, "a" * longest, zho, SPANISH))
    assert is_length_unlikely(Segment(chinese, "a" * (longest + 1), zho, SPANISH))


def test_letters_of_every_language_of_the_table_are_known() -> None:
    for language in all_languages():
        assert not is_mostly_outside("12 !", language.script)
        assert is_mostly_outside("ⵜⴰⵎⴰⵣⵉⵖⵜ", language.script)


@needs_professional_pairs
def test_texts_are_in_the_script_of_their_language() -> None:
    """But a few Japanese and Chinese sentences, in which the names have more letters than all the rest."""
    segments = professional_segments()
    outside = [is_mostly_outside(segment.source, segment.source_language.script) for segment in segments]
    assert sum(outside) < 0.005 * len(segments)
    for segment in segments:
        others = {"Cyrl", "Arab", "Deva", "Thai"} - {segment.source_language.script}
        assert all(is_mostly_outside(segment.source, script) for script in others)


def test_flags_are_sorted_and_each_has_a_penalty() -> None:
    found = flags("घर लाल है १९४७ " * 3, "घर लाल है १९४७ " * 3, "hin")
    assert found == tuple(sorted(found)) == ("copied", "not_english")
    assert segment_score(()) == 1.0
    assert segment_score(["numbers"]) == 0.75
    assert segment_score(list(PENALTIES)) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 500)), max_size=20))
def test_mean_lies_between_the_scores(weighted: list[tuple[float, int]]) -> None:
    scores, weights = [score for score, _ in weighted], [weight for _, weight in weighted]
    mean = mean_score(scores, weights)
    assert 0.0 <= mean <= 1.0
    if not sum(weights):
        assert mean == 1.0
    else:
        assert min(scores) - 1e-6 <= mean <= max(scores) + 1e-6


@given(source=st.text(max_size=60), english=st.text(max_size=60), code=st.sampled_from(["eng", "hin", "zho", "arb"]))
def test_any_text_can_be_checked(source: str, english: str, code: str) -> None:
    found = flags(source, english, code)
    assert set(found) <= set(PENALTIES)
    assert not lost_numbers(source, source) and not invented_numbers(source, source)


@given(number=st.integers(0, 10**9), zero=st.sampled_from("0٠۰०০๐၀"))
def test_digits_of_every_script_are_the_same_number(number: int, zero: str) -> None:
    other = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    assert not lost_numbers(other, str(number)) and not invented_numbers(other, f"{number:,}")


def professional_segments() -> list[Segment]:
    """Every sentence of every language but English, with its English."""
    rows = pl.read_parquet(PROFESSIONAL).select("sent_id", "flores_code", "text").rows()
    english = {sentence: text for sentence, code, text in rows if code == "eng_Latn"}
    segments = []
    for sentence, code, text in rows:
        try:
            segments.append(Segment(text, english[sentence], by_flores_code(code), ENGLISH))
        except UnknownLanguage:
            continue
    return [segment for segment in segments if not segment.source_language.is_english]


def turned(segment: Segment) -> Segment:
    """The same two texts, the other one being the translation."""
    return Segment(segment.translation, segment.source, segment.target_language, segment.source_language)


def copied(segment: Segment) -> Segment:
    """A translator that says its source again."""
    return replace(segment, translation=segment.source)


@needs_professional_pairs
@pytest.mark.parametrize("direction", ["into English", "from English"])
def test_professional_translations_are_rarely_flagged_and_wrong_ones_often(direction: str) -> None:
    segments = professional_segments()
    if direction == "from English":
        segments = [turned(segment) for segment in segments]
    found = [flags_of(segment) for segment in segments]
    serious = [names for names in found if set(names) - {"numbers"}]
    assert len(segments) > 1000
    assert len(serious) < 0.01 * len(segments)
    assert sum(bool(names) for names in found) < 0.06 * len(segments)
    copies = [flags_of(copied(segment)) for segment in segments]
    assert sum("copied" in names for names in copies) > 0.97 * len(segments)


@needs_professional_pairs
def test_answer_in_a_third_language_is_flagged_where_the_target_can_be_told() -> None:
    """Spanish asked for, each other language given; only Portuguese and the like could pass, and do not."""
    spanish = {
        segment.translation: segment for segment in professional_segments() if segment.source_language == SPANISH
    }
    wrong = [
        Segment(segment.translation, segment.source, ENGLISH, SPANISH)
        for segment in professional_segments()
        if segment.source_language != SPANISH and segment.translation in spanish
    ]
    assert len(wrong) > 1000
    assert sum("wrong_language" in flags_of(segment) for segment in wrong) > 0.95 * len(wrong)
