"""Rules for the answers of the base model that are worth learning from.

A base model was never taught to answer, so much of what it writes is no answer. What a rule finds is set aside with the
rule's name; that is a choice and no damage. Whatever else it says is kept, right or wrong: its own English is what is
distilled.
"""

import polars as pl

from cc_tuning.text.languages import ENGLISH
from cc_tuning.translation.quality import Segment, flags_of
from cc_tuning.translation.segmentation import split_sentences

EMPTY, UNFINISHED, REPEATS, NOT_ENGLISH = (
    "answer_empty", "answer_unfinished", "answer_repeats", "answer_not_english",
)  # fmt: skip
RULES = {
    EMPTY: "the base model's answer has no letter and no digit",
    UNFINISHED: "the base model's answer reached the limit of new tokens before its first sentence ended",
    REPEATS: "the base model's answer goes round in a loop",
    NOT_ENGLISH: "the base model's answer to an English prompt is in another language",
}
LONGER_THAN_CONTEXT = "prompt_longer_than_context"
"""The rule's name for a prompt that was not asked."""
_ENDS = frozenset(".!?…:;)\"'”’»]}`")


def judge_answers(answers: pl.DataFrame) -> pl.DataFrame:
    """`answers` (with inputs_en, text and stopped) with `english_answer`, the text to learn, and `answer_rule`.

    An answer that keeps all rules has an empty `answer_rule`.
    """
    judged = [judge_answer(*row) for row in answers.select("inputs_en", "text", "stopped").iter_rows()]
    return answers.with_columns(
        pl.Series("english_answer", [text for text, _ in judged], pl.String),
        pl.Series("answer_rule", [rule for _, rule in judged], pl.String),
    )


def judge_answer(prompt: str, text: str, stopped: bool) -> tuple[str, str]:
    """The answer to learn, and the rule it breaks, if any.

    Blanks around it go, and an answer that did not stop is cut after its last whole sentence.
    Loops and languages are judged as in translations (`translation/quality.py`), the prompt being the source: a loop
    that the prompt asks for is none.
    """
    answer = text.strip()
    if not any(character.isalnum() for character in answer):
        return answer, EMPTY
    # Before it is cut: a loop seldom has sentences.
    flags = flags_of(Segment(prompt, answer, ENGLISH, ENGLISH))
    if "repetition" in flags:
        return answer, REPEATS
    if "not_english" in flags:
        return answer, NOT_ENGLISH
    if not stopped:
        answer = whole_sentences(answer)
    return answer, "" if answer else UNFINISHED


def whole_sentences(text: str) -> str:
    """`text` without the sentence that was cut off at its end; empty where there is no other."""
    sentences = split_sentences(text, ENGLISH)
    if sentences[-1].rstrip()[-1:] not in _ENDS:
        sentences = sentences[:-1]
    return "".join(sentences).strip()
