"""The rules of self-distillation one by one: cutting, switching, drawing, judging, and the rows of each task."""

import polars as pl
import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from cc_tuning.distillation.answer_filters import judge_answer, whole_sentences
from cc_tuning.distillation.answering import stop_token_ids
from cc_tuning.distillation.code_switching import prose_words, switch_words, usable_translations, words_to_switch
from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.distillation.tasks import LEAST_WORDS, cut_in_two, draw_tasks, task_rows
from cc_tuning.text.icu import word_ends
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.translation.decoding import CheckedSegment
from data_contracts.schemas import SDRRL_TASKS, DistilledRow, ParallelPair

PROMPT = "Please read `Please run` and the art party at https://please.example/art please"


@pytest.mark.parametrize(
    "text",
    [
        "Ana lives in Rome and works as a teacher.", "玛丽亚住在罗马，是一名老师。", "หญิงคนหนึ่งอาศัยอยู่ในกรุงโรมและเป็นครู",
        "مريم تعيش في روما، وهي معلمة.", "😀 One two 😀 three, four 😀", "line one\n\nline two\n- and three",
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_two_parts_are_the_text_again_with_no_word_cut(text: str, share: float) -> None:
    parts = cut_in_two(text, share)
    assert parts is not None
    beginning, rest = parts
    assert text.startswith(beginning) and text.endswith(rest)
    assert not text[len(beginning) : len(text) - len(rest)].strip()
    words, shown = len(word_ends(text)), len(word_ends(beginning))
    assert shown + len(word_ends(rest)) == words
    assert shown == min(max(round(share * words), LEAST_WORDS), words - LEAST_WORDS)


@pytest.mark.parametrize("text", ["", "One", "one two three", "12", "...!", "名古屋"])
def test_a_text_of_few_words_is_not_cut(text: str) -> None:
    assert cut_in_two(text, 0.5) is None


def test_only_words_of_prose_are_switched_and_only_whole_ones() -> None:
    assert prose_words(PROMPT) == ["Please", "and", "art", "at", "party", "please", "read", "the"]
    assert switch_words(PROMPT, ["Please", "art"], {"Please": "Por favor", "art": "arte", "party": "fiesta"}) == (
        "Por favor read `Please run` and the arte party at https://please.example/art please"
    )
    assert switch_words(PROMPT, ["Please"], {}) == PROMPT


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.25, 2), (0.3, 2), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_different_words_is_switched_at_least_one(share: float, expected: int) -> None:
    chosen = words_to_switch(PROMPT, "p", share, 0)
    assert len(chosen) == len(set(chosen)) == expected
    assert set(chosen) <= set(words_to_switch(PROMPT, "p", 1.0, 0))


def test_which_words_are_switched_depends_on_seed_and_pair() -> None:
    words = {tuple(words_to_switch(PROMPT, pair, 0.5, seed)) for pair in "pqr" for seed in range(3)}
    assert len(words) > 5
    assert words_to_switch(PROMPT, "p", 0.5, 0) == words_to_switch(PROMPT, "p", 0.5, 0)


def test_only_clean_short_other_words_are_taken_from_the_translator() -> None:
    answers = {
        "house": ("casa.", ()), "please": ("por favor", ()), "Rome": ("rome", ()), "cat": ("", ("empty",)),
        "dog": ("собака", ("wrong_language",)), "sun": ("el sol brilla en el cielo", ()), "dot": (".", ()),
        "teacher": ("请用一句话概括以下内容", ()),
    }  # fmt: skip
    decoded = {word: CheckedSegment(word, text, flags) for word, (text, flags) in answers.items()}
    assert usable_translations(decoded) == {"house": "casa", "please": "por favor"}


def pairs_of(number: int) -> pl.DataFrame:
    """Pairs of which every third is English, and every fifth has too few words to be cut."""
    rows = []
    for index in range(number):
        text = f"Una frase {index}" if index % 5 == 0 else f"Una frase bastante larga número {index}"
        english = index % 3 == 0
        code = ("English", "eng", "eng_Latn") if english else ("Spanish", "spa", "spa_Latn")
        rows.append((f"p{index}", *code, text, text, text, text, "english" if english else "given", 1.0, []))
    return pl.DataFrame(rows, schema=ParallelPair.create_empty().schema, orient="row")


def test_shares_are_of_all_pairs_and_come_from_what_can_be_used() -> None:
    pairs = pairs_of(300)
    config = DistillationConfig(distilled=0.5, cross_lingual=1.0, partial_translation=0.1, completion=1.0)
    drawn = draw_tasks(pairs, config)
    foreign = {f"p{index}" for index in range(300) if index % 3}
    long = {pair_id for pair_id in foreign if int(pair_id[1:]) % 5}
    of_task = {task: drawn.filter(pl.col("task") == task)["pair_id"].to_list() for task in SDRRL_TASKS}
    counts = {task: len(ids) for task, ids in of_task.items()}
    assert counts == {
        "distilled": 150, "cross_lingual": len(foreign), "translated_answer": 12, "code_switched": 12,
        "partial_translation": 30, "completion": len(long),
    }  # fmt: skip
    assert all(len(set(ids)) == len(ids) for ids in of_task.values())
    assert set(of_task["cross_lingual"]) == foreign and set(of_task["completion"]) == long
    # Tasks that can use any pair share their first ones, so that few answers are needed.
    assert set(of_task["translated_answer"]) < set(of_task["distilled"]) < set(of_task["cross_lingual"])


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    pairs, config = pairs_of(120), DistillationConfig()
    drawn = draw_tasks(pairs, config)
    assert draw_tasks(pairs.sample(fraction=1.0, shuffle=True, seed=1), config).equals(drawn)
    assert not draw_tasks(pairs, config.model_copy(update={"seed": 1})).equals(drawn)


def test_the_default_shares_make_the_papers_size() -> None:
    pairs = pairs_of(1_000)
    assert pairs.height + draw_tasks(pairs, DistillationConfig()).height == 1_200


def test_shares_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="every share is 0"):
        DistillationConfig(**dict.fromkeys(SDRRL_TASKS, 0.0))


@pytest.mark.parametrize(
    ("text", "stopped", "expected"),
    [
        (" It is Rome. \n", True, ("It is Rome.", "")),
        ("It is Rome", True, ("It is Rome", "")),
        ("B", True, ("B", "")),
        ("", True, ("", "answer_empty")),
        (" ... !", True, ("... !", "answer_empty")),
        ("It is Rome. It is a large ci", False, ("It is Rome.", "")),
        ("It is Rome.", False, ("It is Rome.", "")),
        ("It is a very large ci", False, ("", "answer_unfinished")),
        ("so it is and " * 12, False, (("so it is and " * 12).strip(), "answer_repeats")),
        ("Это очень большой город в Италии.", True, ("Это очень большой город в Италии.", "answer_not_english")),
    ],
)
def test_an_answer_is_kept_cut_or_named_after_its_rule(text: str, stopped: bool, expected: tuple[str, str]) -> None:
    assert judge_answer("Where does she live?", text, stopped) == expected


def test_a_loop_that_the_prompt_has_too_is_no_fault() -> None:
    asked = "Repeat after me: " + "la la la " * 6
    assert judge_answer(asked, "la la la " * 6, True)[1] == ""


def test_whole_sentences_leave_out_what_was_cut_off() -> None:
    assert whole_sentences('He said "no." Then he lef') == 'He said "no."'
    assert whole_sentences("1. One.\n2. Two.\n3. Th") == "1. One.\n2. Two."


def test_an_answer_ends_where_the_model_opens_another_turn(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    stops = stop_token_ids(ChatPrompts(tiny_tokenizer), tiny_tokenizer)
    names = set(tiny_tokenizer.convert_ids_to_tokens(list(stops)))
    assert {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"} <= names
    assert "<think>" not in names, "a token that is not special is text"


@pytest.mark.parametrize(
    ("task", "code", "prompt", "response", "english_prompt"),
    [
        ("distilled", "eng", "Who is she at all?", "Ana.", "Who is she at all?"),
        ("cross_lingual", "spa", "¿Quién es ella pues?", "Ana.", "Who is she at all?"),
        ("translated_answer", "spa", "¿Quién es ella pues?", "Es Ana.", "Who is she at all?"),
        ("code_switched", "spa", "Quién is she at all?", "Ana.", "Who is she at all?"),
        (
            "partial_translation", "spa",
            "Translate the following sentence from English to Spanish. The translation begins with the words below it."
            "\nWho is she at all?\n¿Quién es", "ella pues?",
            "Translate the following sentence from English to Spanish. The translation begins with the words below it."
            "\nWho is she at all?\nWho is",
        ),
        (
            "completion", "spa", "Continue the following text in Spanish.\nElla es", "Ana Vega.",
            "Continue the following text in English.\nShe is",
        ),
    ],
)  # fmt: skip
def test_each_task_makes_its_row(task: str, code: str, prompt: str, response: str, english_prompt: str) -> None:
    pair = {
        "pair_id": "p", "language": "Spanish", "language_code": "spa", "flores_code": "spa_Latn",
        "inputs": "¿Quién es ella pues?", "targets": "Ella es Ana Vega.", "inputs_en": "Who is she at all?",
        "targets_en": "She is Ana Vega.", "origin": "translated", "quality": 0.75, "flags": ["numbers"],
        "english_answer": "Ana.", "answer": "Es Ana.", "answer_quality": 0.5, "answer_flags": ["length_ratio"],
        "switched_prompt": "Quién is she at all?",
    }  # fmt: skip
    row = DistilledRow.validate(task_rows(task, pl.DataFrame([pair]), 0.5), cast=True).row(0, named=True)
    is_translated = task == "translated_answer"
    assert row == {
        "row_id": f"p:{task}", "pair_id": "p", "task": task, "language_code": code, "prompt": prompt,
        "response": response, "english_prompt": english_prompt, "quality": 0.5 if is_translated else 0.75,
        "flags": ["length_ratio", "numbers"] if is_translated else ["numbers"],
    }  # fmt: skip
