"""Each check finds its fault and leaves good translations alone."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.languages import UnknownLanguage, by_flores_code, find_language
from cc_tuning.translation.numbers import invented_numbers, lost_numbers
from cc_tuning.translation.quality import PENALTIES, Segment, flags_of, mean_score, segment_score

PROFESSIONAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "parallel" / "ntrex_40x63.parquet"


def flags(source: str, english: str, code: str = "spa") -> tuple[str, ...]:
    return flags_of(Segment(source, english, find_language(code)))


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


@pytest.mark.skipif(not PROFESSIONAL.is_file(), reason=f"{PROFESSIONAL} is not here: real pairs cannot be tried")
def test_professional_translations_are_rarely_flagged_and_wrong_ones_often() -> None:
    rows = pl.read_parquet(PROFESSIONAL).select("sent_id", "flores_code", "text").rows()
    english = {sentence: text for sentence, code, text in rows if code == "eng_Latn"}
    segments = []
    for sentence, code, text in rows:
        try:
            segments.append(Segment(text, english[sentence], by_flores_code(code)))
        except UnknownLanguage:
            continue
    segments = [segment for segment in segments if not segment.language.is_english]
    found = [flags_of(segment) for segment in segments]
    serious = [names for names in found if set(names) - {"numbers"}]
    assert len(segments) > 1000
    assert len(serious) < 0.01 * len(segments)
    assert sum(bool(names) for names in found) < 0.06 * len(segments)
    copies = [flags_of(Segment(segment.source, segment.source, segment.language)) for segment in segments]
    assert sum("copied" in names for names in copies) > 0.97 * len(segments)
