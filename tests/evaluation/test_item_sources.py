"""Each of the ten published data sets, in the hub's layout with rows by hand: the items that become of them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.prompts import languages_of, render
from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.making import MadeItems
from data_contracts.schemas import BENCHMARKS as NAMES
from data_contracts.schemas import BenchmarkItem
from tests.evaluation.published_files import made


def rows_of(result: MadeItems, language: str) -> list[dict[str, Any]]:
    """The items of one language, in the order of their ids."""
    return result.items.filter(pl.col("language") == language).sort("item_id").to_dicts()


def story(number: int, name: str, right: int) -> dict[str, object]:
    sentences = {f"input_sentence_{place}": f"{name} {place}." for place in (1, 2, 3, 4)}
    endings = {"sentence_quiz1": f"{name} goes.", "sentence_quiz2": f"{name} stays."}
    return {"story_id": f"story-{number}", **sentences, **endings, "answer_right_ending": right}


def mkqa_row(example_id: int, answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    queries = {key: f"question {example_id} in {key}" for key in answers}
    return {"example_id": example_id, "query": f"question {example_id}", "queries": queries, "answers": answers}


def in_both(answer: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {"en": [answer], "zh_cn": [answer]}


def test_every_benchmark_has_a_source_with_a_pin_a_licence_and_a_citation() -> None:
    assert tuple(BENCHMARKS) == NAMES
    assert tuple(SOURCES) == tuple(name for name, row in BENCHMARKS.items() if not row.is_instruction)
    for name, source in SOURCES.items():
        assert source.benchmark == name and source.licence and source.citation and source.url.startswith("https://")
        assert all(len(file.revision) == 40 and int(file.revision, 16) for file in source.files.values())
        assert set(BENCHMARKS[name].paper_languages) <= set(source.languages) & set(languages_of(name))
    assert [name for name, source in SOURCES.items() if source.is_non_commercial] == ["XNLI", "XLSum"]


def test_xnli_is_joined_by_row_and_clustered_by_the_english_premise(tmp_path: Path) -> None:
    hypotheses = [("He sleeps.", 2), ("He runs fast.", 1), ("He runs.", 0), ("It rains.", 0)]
    premises = ["A man runs.", "A man runs.", "A man runs.", "Rain falls."]
    english = [
        {"premise": p, "hypothesis": h, "label": label} for p, (h, label) in zip(premises, hypotheses, strict=True)
    ]
    swahili = [{**row, "premise": f"sw {row['premise']}", "hypothesis": f"sw {row['hypothesis']}"} for row in english]
    result = made(tmp_path, "XNLI", {"en": english, "sw": swahili})
    there, here = rows_of(result, "en"), rows_of(result, "sw")
    assert [row["item_id"] for row in here] == [row["item_id"] for row in there]
    assert [row["answers"] for row in here] == [["3"], ["2"], ["1"], ["1"]]
    assert [row["cluster"] for row in here] == [row["cluster"] for row in there]
    assert len({row["cluster"] for row in here[:3]}) == 1 and len({row["cluster"] for row in here}) == 2
    assert here[0]["prompt"] == render("XNLI", "sw", {"premise": "sw A man runs.", "hypothesis": "sw He sleeps."})
    assert here[0]["prompt_en"] == there[0]["prompt"] == there[0]["prompt_en"]
    assert {row["choices_kind"] for row in here} == {"option_number_1_3"}
    assert all(text in here[0]["prompt"] for text in here[0]["choices"]) and len(set(here[0]["choices"])) == 3
    assert here[0]["choices"] != there[0]["choices"], "the options are words of the language"


@pytest.mark.parametrize("names", ["hub", "release"])
def test_xstorycloze_is_read_under_either_header_and_joined_by_story(tmp_path: Path, names: str) -> None:
    english, chinese = [story(1, "Ana", 2), story(2, "Bo", 1)], [story(1, "安娜", 2), story(2, "波", 1)]
    if names == "release":
        keys = ["InputStoryid", *(f"InputSentence{place}" for place in (1, 2, 3, 4))]
        keys += ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"]
        english, chinese = ([dict(zip(keys, row.values(), strict=True)) for row in rows] for rows in (english, chinese))
    result = made(tmp_path, "XStoryCloze", {"en": english, "zh": chinese[::-1]})
    first, second = rows_of(result, "zh")
    assert (first["item_id"], first["answers"], second["answers"]) == ("story-1", ["2"], ["1"])
    assert first["choices"] == ["安娜 goes.", "安娜 stays."]
    assert first["prompt_en"] == rows_of(result, "en")[0]["prompt"]


def mmmlu(question: str, options: list[str], answer: int, subject: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of cais/mmlu and one of openai/MMMLU."""
    letters = dict(zip("ABCD", options, strict=True))
    return (
        {"question": question, "subject": subject, "choices": options, "answer": answer},
        {"Question": f"es {question}", **letters, "Answer": "ABCD"[answer], "Subject": subject},
    )


def test_mmmlu_takes_its_english_from_mmlu_and_keeps_null_words_as_texts(tmp_path: Path) -> None:
    pairs = [
        mmmlu('How many "roots", if any?', ["None", "NA", "null", "N/A"], 0, "abstract_algebra"),
        mmmlu("Which virus,\nif any?", ["nan", "", "x", "y"], 1, "virology"),
        mmmlu("What is a tort?", ["a", "b", "c", "d"], 3, "jurisprudence"),
    ]
    result = made(tmp_path, "MMMLU", {"en": [en for en, _ in pairs], "es": [es for _, es in pairs]})
    first, last = rows_of(result, "es")
    assert (first["item_id"], first["answers"], first["group"]) == ("mmlu-test-00000-abstract_algebra", ["A"], "STEM")
    assert first["choices"] == ["None", "NA", "null", "N/A"]
    assert first["prompt_en"] == rows_of(result, "en")[0]["prompt"]
    assert (last["answers"], last["group"]) == (["D"], "humanities")
    assert result.record.languages["es"].set_aside == {"blank_text": 1}
    assert result.quarantined["row_id"].to_list() == ["MMMLU/en/row 1", "MMMLU/es/row 1"]


def test_mkqa_has_every_alias_once_and_leaves_out_what_has_no_short_answer(tmp_path: Path) -> None:
    place = {"type": "entity", "entity": "Q90", "text": "Paris ", "aliases": ["Paris", "City of Light", " "]}
    rows = [
        mkqa_row(-5, in_both(place)),
        mkqa_row(7, in_both({"type": "number_with_unit", "text": "3.0 feet"})),
        mkqa_row(8, in_both({"type": "unanswerable", "text": None})),
        mkqa_row(9, in_both({"type": "long_answer", "text": None, "aliases": []})),
        mkqa_row(10, {"en": [place], "zh_cn": [{"type": "entity", "text": "", "aliases": []}]}),
    ]
    result = made(tmp_path, "MKQA", {"en": rows, "zh": rows})
    first, second = rows_of(result, "zh")
    assert (first["item_id"], first["answers"], first["group"]) == ("mkqa:-5", ["Paris", "City of Light"], "entity")
    assert (second["item_id"], second["answers"], second["group"]) == ("mkqa:7", ["3.0 feet"], "number_with_unit")
    assert second["prompt"] == render("MKQA", "zh", {"question": "question 7 in zh_cn"})
    assert result.record.languages["zh"].left_out == {"long_answer": 1, "unanswerable": 1}
    assert result.record.languages["zh"].set_aside == {"no_answer": 1}


def test_xquad_loses_its_invisible_marks_and_is_clustered_by_paragraph(tmp_path: Path) -> None:
    def row(number: int, context: str, answer: str) -> dict[str, Any]:
        answers = {"text": [answer], "answer_start": [context.find(answer)]}
        return {"id": f"{number:024x}", "context": context, "question": f"Question {number}?", "answers": answers}

    english = [row(1, "Ana lives here.", "Ana"), row(2, "Ana lives here.", "here"), row(3, "Bo is old.", "old")]
    thai = [row(1, "\ufeffAna อยู่ที่นี่", "Ana"), row(2, "Ana \ufeffอยู่ที่นี่", "\ufeffอยู่ที่นี่"), row(3, "Bo แก่", "old")]
    result = made(tmp_path, "XQuAD", {"en": english, "th": thai})
    here = rows_of(result, "th")
    assert [item["answers"] for item in here] == [["Ana"], ["อยู่ที่นี่"]]
    assert not any("\ufeff" in text for item in here for text in (item["prompt"], *item["answers"]))
    assert all(answer in item["prompt"] for item in here for answer in item["answers"])
    assert here[0]["cluster"] == here[1]["cluster"] == rows_of(result, "en")[0]["cluster"]
    record = result.record.languages["th"]
    assert (record.mended, record.set_aside) == ({"invisible_mark": 2}, {"answer_not_in_context": 1})


def test_xlsum_has_items_of_its_own_in_each_language_and_no_english_version(tmp_path: Path) -> None:
    def row(name: str) -> dict[str, str]:
        return {"id": name, "url": "https://bbc", "title": f"T {name}", "summary": f"S {name}", "text": f"Text {name}"}

    result = made(tmp_path, "XLSum", {"en": [row("world-1"), row("world-2")], "vi": [row("vn-1"), row("vn-1")]})
    only = rows_of(result, "vi")
    assert [(item["item_id"], item["answers"], item["prompt_en"]) for item in only] == [
        ("xlsum-vi-vn-1", ["S vn-1"], None)
    ]
    assert only[0]["prompt"] == render("XLSum", "vi", {"title": "T vn-1", "text": "Text vn-1"})
    assert result.record.languages["vi"].set_aside == {"id_given_twice": 1}


def test_belebele_is_joined_by_passage_and_number_and_clustered_by_passage(tmp_path: Path) -> None:
    def row(page: int, number: int, right: str, mark: str) -> dict[str, Any]:
        answers = {f"mc_answer{place}": f"{mark} {place}" for place in (1, 2, 3, 4)}
        return {
            "link": f"https://en.wikinews.org/{page}", "question_number": number, "flores_passage": f"{mark} p{page}",
            "question": f"{mark} q{page}{number}", **answers, "correct_answer_num": right, "dialect": "", "ds": "2023",
        }  # fmt: skip

    places = [(1, 1, "2"), (1, 2, "4"), (2, 1, "1")]
    english, yoruba = ([row(*place, mark) for place in places] for mark in ("en", "yo"))
    result = made(tmp_path, "BELEBELE", {"en": english, "yo": yoruba[::-1]})
    by_question = {item["prompt_en"]: item for item in rows_of(result, "yo")}
    there = {item["prompt"]: item for item in rows_of(result, "en")}
    assert by_question.keys() == there.keys()
    for prompt, item in by_question.items():
        assert (item["item_id"], item["answers"]) == (there[prompt]["item_id"], there[prompt]["answers"])
    assert sorted(item["answers"][0] for item in by_question.values()) == ["A", "B", "D"]
    clusters = sorted(item["cluster"] for item in by_question.values())
    assert clusters == [f"https://en.wikinews.org/{page}" for page in (1, 1, 2)]


def test_global_mmlu_is_joined_by_its_own_id_and_grouped_by_category(tmp_path: Path) -> None:
    def row(number: int, answer: str, mark: str, **changes: object) -> dict[str, Any]:
        options = {f"option_{letter}": f"{mark} {letter}" for letter in "abcd"}
        return {
            "sample_id": f"virology/test/{number}", "subject": "virology", "subject_category": "Medical",
            "question": f"{mark} {number}", **options, "answer": answer, "is_annotated": False, **changes,
        }  # fmt: skip

    english = [row(0, "A", "en"), row(1, "D", "en"), row(2, "B", "en")]
    vietnamese = [row(1, "D", "vi"), row(0, "A", "vi"), row(2, "B", "vi", option_c=None)]
    result = made(tmp_path, "GlobalMMLU", {"en": english, "vi": vietnamese})
    here = rows_of(result, "vi")
    assert [(item["item_id"], item["answers"]) for item in here] == [
        ("virology/test/0", ["A"]), ("virology/test/1", ["D"]),
    ]  # fmt: skip
    assert {item["group"] for item in here} == {"Medical"}
    assert result.record.languages["vi"].set_aside == {"blank_text": 1}
    assert result.quarantined["detail"].to_list() == ["option_c"]


def test_include_has_items_of_its_own_in_each_language_and_no_english_version(tmp_path: Path) -> None:
    options = {f"option_{letter}": letter for letter in "abcd"}
    row = {"language": "Turkish", "domain": "STEM", "subject": "Biology", "question": "Soru?", **options, "answer": 2}
    result = made(tmp_path, "INCLUDE", {"tr": [row, {**row, "question": "İkinci?", "option_b": " ", "answer": 0}]})
    (item,) = rows_of(result, "tr")
    assert (item["item_id"], item["answers"], item["group"], item["prompt_en"]) == (
        "include-tr-000", ["C"], "STEM", None,
    )  # fmt: skip
    assert result.record.languages["tr"].set_aside == {"blank_text": 1}


def test_mgsm_is_joined_by_row_and_its_answer_is_the_number(tmp_path: Path) -> None:
    def row(question: str, number: int) -> dict[str, Any]:
        return {"question": question, "answer": None, "answer_number": number, "equation_solution": None}

    result = made(
        tmp_path, "MGSM", {"en": [row("2 + 3?", 5), row("7?", -70000)], "te": [row("౨ + ౩?", 5), row("౭?", -70000)]}
    )
    first, second = rows_of(result, "te")
    assert (first["item_id"], first["answers"], second["answers"]) == ("mgsm-test-000", ["5"], ["-70000"])
    assert first["prompt_en"] == render("MGSM", "en", {"question": "2 + 3?"})


def test_items_keep_the_contract_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = [mkqa_row(number, in_both({"type": "entity", "text": f"answer {number}"})) for number in range(30)]
    rows += [mkqa_row(99, in_both({"type": "unanswerable", "text": None}))]
    result = made(tmp_path, "MKQA", {"en": rows, "zh": rows})
    BenchmarkItem.validate(result.items)
    for record in result.record.languages.values():
        aside = sum(record.set_aside.values()) + sum(record.left_out.values())
        assert record.items + aside == record.rows == 31
    assert result.read == 62


def test_the_page_on_benchmarks_has_the_commits_rows_and_licences_of_the_sources() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name, source in SOURCES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        for file in source.files.values():
            assert f"`{file.repository}` `{file.revision}`" in row
            assert source.benchmark in ("XLSum", "INCLUDE") or f"| {file.rows:,} |" in row
        assert source.licence in row and ("non-commercial" in row) is source.is_non_commercial
