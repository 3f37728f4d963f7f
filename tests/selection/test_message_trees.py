"""OpenAssistant's trees: first questions with their answers, the best ones first, whatever stands around them."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT
from cc_tuning.runtime.step import Outcome, run_step
from cc_tuning.selection.columns import SourceColumns
from cc_tuning.selection.config import SelectionConfig
from data_contracts.errors import ContractViolation
from data_contracts.layout import SELECTED_ROWS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import AyaRow, QuarantinedRow
from data_contracts.store import ArtifactStore

TREES = Path(__file__).resolve().parents[3] / "shared" / "data" / "oasst_like" / "oasst_en_trees.jsonl"
COLUMNS = SourceColumns(layout="oasst")


def message(text: str, role: str, replies: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": role, "lang": "en", "replies": replies or []} | more


def tree(number: int, ranks: list[int | None], **more: Any) -> dict[str, Any]:
    answers = [message(f"Answer {place} of {number}.", "assistant", rank=rank) for place, rank in enumerate(ranks)]
    return {"prompt": message(f"Question {number}?", "prompter", answers, **more)}


def write(path: Path, trees: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(each) + "\n" for each in trees)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def select(
    folder: Path, source: Path, limit: float = 0.05, **config: Any
) -> tuple[Outcome, pl.DataFrame, pl.DataFrame]:
    store = ArtifactStore(folder / "store")
    chosen = SelectionConfig(**{"decontamination": "none", "columns": COLUMNS} | config)
    step = SELECT.step(chosen, source=LocalSource.of(source))
    outcome = run_step(step, store, Execution(quarantine_limit=limit), no_progress)
    folder = store.path(outcome.ref)
    return outcome, read_parquet(folder / SELECTED_ROWS, AyaRow), read_parquet(folder / QUARANTINE, QuarantinedRow)


def test_best_answers_come_first_then_the_second_ones_and_unranked_last(tmp_path: Path) -> None:
    trees = [tree(number, [1, 0, 2]) for number in range(10)] + [tree(number, [None]) for number in range(10, 14)]
    source = write(tmp_path / "ready.trees.jsonl.gz", trees)
    ranked = {f"Answer {place} of {number}.": rank for number in range(10) for place, rank in enumerate([1, 0, 2])}
    for rows, expected in ((6, {0: 6}), (15, {0: 10, 1: 5}), (32, {0: 10, 1: 10, 2: 10, None: 2})):
        _, chosen, _ = select(tmp_path, source, rows=rows)
        assert Counter(ranked.get(answer) for answer in chosen["targets"]) == expected
        assert set(chosen["language_code"]) == {"eng"}


def test_a_smaller_set_is_the_beginning_of_a_larger_one_in_any_order_of_trees(tmp_path: Path) -> None:
    trees = [tree(number, [2, 0, 1, None]) for number in range(20)]
    source, reverse = write(tmp_path / "a.jsonl", trees), write(tmp_path / "b.jsonl", trees[::-1])
    smaller: set[str] = set()
    for rows in (5, 10, 20, 40, 80):
        _, chosen, _ = select(tmp_path, source, rows=rows)
        assert chosen.height == rows and smaller < set(chosen["row_id"])
        smaller = set(chosen["row_id"])
        assert chosen.equals(select(tmp_path, reverse, rows=rows)[1])


def test_what_cannot_be_learnt_from_is_set_aside_by_rule(tmp_path: Path) -> None:
    answer = message("Fine.", "assistant", rank=0)
    trees = [
        {"prompt": message("No answer?", "prompter")},
        {"prompt": message("Hello.", "assistant", [answer])},
        {"prompt": "only a text"},
        {"prompt": message("Deleted?", "prompter", [answer], deleted=True)},
        {"prompt": message("Refused?", "prompter", [answer | {"review_result": False}])},
        {"prompt": message("In Spanish?", "prompter", [answer | {"lang": "es"}])},
        {"prompt": message("Klingon?", "prompter", [answer | {"lang": "tlh"}], lang="tlh")},
        {"prompt": message("Empty?", "prompter", [answer | {"text": " "}])},
        {"prompt": message("Number?", "prompter", [answer | {"text": 3}])},
        tree(0, [0, 1]),
        {"prompt": message("¿Qué?", "prompter", [answer | {"lang": "es-MX"}], lang="es-MX")},
    ]
    outcome, chosen, quarantined = select(tmp_path, write(tmp_path / "trees.jsonl", trees), 1.0, languages=("eng",))
    assert dict(quarantined["rule"].value_counts().iter_rows()) == {
        "not_a_conversation": 3, "withdrawn_message": 2, "answer_in_other_language": 1, "unknown_language": 1,
        "empty_text": 1, "not_text": 1,
    }  # fmt: skip
    assert sorted(chosen["targets"]) == ["Answer 0 of 0.", "Answer 1 of 0."]
    assert outcome.manifest.rows.not_selected == 1, "the Spanish one"


def test_a_table_is_no_file_of_trees(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["Who?"]}), tmp_path / "messages.parquet")
    with pytest.raises(ContractViolation, match=r"message trees, which are JSON.*\.trees\.jsonl\.gz"):
        select(tmp_path, tmp_path / "messages.parquet")


def test_trees_say_their_language_themselves() -> None:
    with pytest.raises(ValidationError, match="leave out language_code"):
        SourceColumns(layout="oasst", language_code="eng")


@pytest.mark.skipif(not TREES.exists(), reason=f"real trees are not at {TREES}")
def test_real_trees_give_each_first_question_with_its_best_answer(tmp_path: Path) -> None:
    trees = [json.loads(line)["prompt"] for line in TREES.read_text(encoding="utf-8").splitlines()]
    best = {
        (root["text"], answer["text"]) for root in trees for answer in root["replies"] if answer.get("rank") == 0
    }  # fmt: skip
    outcome, chosen, _ = select(tmp_path, TREES, rows=len(best), languages=("eng",))
    assert set(chosen.select("inputs", "targets").iter_rows()) == best
    assert len(best) == 69 and outcome.manifest.rows.read == 233
