"""XStoryCloze's evaluation split (Lin et al. 2022): one TSV per language, items joined by their story's id.

The hub's files name their columns as its card does, the original release in another way; both are read, by position.
"""

from cc_tuning.evaluation.sources.source import Fault, ItemSource, Row, SourceItem, files_by_language, same_names

COLUMNS = (
    "story_id", "input_sentence_1", "input_sentence_2", "input_sentence_3", "input_sentence_4", "sentence_quiz1",
    "sentence_quiz2", "answer_right_ending",
)  # fmt: skip
_SENTENCES, _ENDINGS = COLUMNS[1:5], COLUMNS[5:7]


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: an id, four sentences, two endings, and the number of the right one."""
    if row["answer_right_ending"] not in ("1", "2"):
        return Fault("answer_unknown", f"ending {row['answer_right_ending']!r}, expected 1 or 2")
    endings = tuple(row[name] for name in _ENDINGS)
    return SourceItem(
        item_id=row["story_id"],
        number=number,
        fields={"sentences": tuple(row[name] for name in _SENTENCES), "endings": endings},
        answers=(row["answer_right_ending"],),
        choices=endings,
    )


XSTORYCLOZE = ItemSource(
    benchmark="XStoryCloze",
    files=files_by_language(
        same_names("ar en es eu hi id my ru sw te zh"),
        "spring2016.val.{name}.tsv.split_20_80_eval.tsv",
        repository="juletxara/xstory_cloze",
        revision="c4c2d88a1ec8b37fe22166d2a610f272726724b6",
        format="tsv",
        columns=COLUMNS,
        rows=1511,
    ),
    read=read_item,
    has_equal_answers=True,
    licence="CC BY-SA 4.0",
    licence_note="The English stories are StoryCloze's own and not part of the release of the translations.",
    citation="Lin et al. 2022, Few-shot Learning with Multilingual Generative Language Models",
    url="https://aclanthology.org/2022.emnlp-main.616",
)
