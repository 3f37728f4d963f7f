"""The stage on real pairs and tiny models: what is drawn, what becomes of it, and what a kill leaves."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cc_tuning.distillation.answering import FOLDER
from cc_tuning.errors import ConfigError
from cc_tuning.inference.job_files import GeneratedRow
from data_contracts.errors import ContractViolation
from data_contracts.files import read_json
from data_contracts.parquet import read_parquet
from data_contracts.schemas import SDRRL_TASKS, DistilledAnswer, DistilledRow, QuarantinedRow

if TYPE_CHECKING:
    from conftest import Distillery

RESULTS = ("answers.parquet", "distilled_rows.parquet", "quarantine.parquet", "summary.json")


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def rows_of(folder: Path) -> pl.DataFrame:
    return read_parquet(folder / "distilled_rows.parquet", DistilledRow)


def test_every_task_draws_its_share_of_all_pairs(distillery: "Distillery", finished: Path) -> None:
    shares = distillery.config.distillation.model_dump()
    expected = {task: round(shares[task] * distillery.pairs.height) for task in SDRRL_TASKS}
    quarantine = read_parquet(finished / "quarantine.parquet", QuarantinedRow)
    drawn = Counter(row_id.rpartition(":")[2] for row_id in [*rows_of(finished)["row_id"], *quarantine["row_id"]])
    assert drawn == expected
    summary = read_json(finished / "summary.json")
    assert summary["drawn_by_task"] == expected
    assert summary["rows_by_task"] == Counter(rows_of(finished)["task"].to_list())
    assert set(summary["rows_by_task"]) == set(SDRRL_TASKS), "every task is seen by the tests below"


def test_the_first_foreign_pairs_by_hash_are_drawn(distillery: "Distillery", finished: Path) -> None:
    foreign = [row["pair_id"] for row in distillery.pairs.to_dicts() if row["origin"] != "english"]
    digest = {pair_id: hashlib.sha256(f"0:distill/{pair_id}".encode()).hexdigest() for pair_id in foreign}
    expected = sorted(foreign, key=lambda pair_id: digest[pair_id])[: round(0.25 * distillery.pairs.height)]
    asked = pl.concat(read_parquet(path, GeneratedRow) for path in (finished / "shards" / FOLDER).glob("*.parquet"))
    assert sorted(asked["item_id"]) == sorted(expected)


def test_ids_are_unique_and_every_row_is_about_its_pair(distillery: "Distillery", finished: Path) -> None:
    rows = rows_of(finished)
    assert rows["row_id"].n_unique() == rows.height
    pairs = {pair["pair_id"]: pair for pair in distillery.pairs.to_dicts()}
    answers = {row["pair_id"]: row for row in read_parquet(finished / "answers.parquet", DistilledAnswer).to_dicts()}
    for row in rows.to_dicts():
        pair, answer = pairs[row["pair_id"]], answers.get(row["pair_id"], {})
        assert row["row_id"] == f"{pair['pair_id']}:{row['task']}"
        assert row["language_code"] == ("eng" if row["task"] == "distilled" else pair["language_code"])
        match row["task"]:
            case "distilled":
                expected = (pair["inputs_en"], answer["english_answer"], pair["inputs_en"])
            case "cross_lingual":
                expected = (pair["inputs"], answer["english_answer"], pair["inputs_en"])
            case "translated_answer":
                expected = (pair["inputs"], answer["answer"], pair["inputs_en"])
            case "code_switched":
                expected = (answer["switched_prompt"], answer["english_answer"], pair["inputs_en"])
                assert row["prompt"] != pair["inputs_en"]
            case _:
                continue
        assert (row["prompt"], row["response"], row["english_prompt"]) == expected


def test_a_text_in_two_parts_is_the_text_again(distillery: "Distillery", finished: Path) -> None:
    pairs = {pair["pair_id"]: pair for pair in distillery.pairs.to_dicts()}
    cut = rows_of(finished).filter(pl.col("task").is_in(["partial_translation", "completion"]))
    assert cut.height
    for row in cut.to_dicts():
        pair = pairs[row["pair_id"]]
        if row["task"] == "completion":
            text = pair["targets"]
            instruction, shown = f"Continue the following text in {pair['language']}.\n", row["prompt"]
        else:
            text, shown = pair["inputs"], row["prompt"]
            instruction = (
                f"Translate the following sentence from English to {pair['language']}. "
                f"The translation begins with the words below it.\n{pair['inputs_en']}\n"
            )
        assert shown.startswith(instruction)
        assert "".join((shown.removeprefix(instruction) + row["response"]).split()) == "".join(text.split())


def test_answers_are_those_of_generate_one_by_one(distillery: "Distillery", finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(distillery.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(distillery.base)
    control = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
    prompts = dict(distillery.pairs.select("pair_id", "inputs_en").iter_rows())
    answered = [read_parquet(path, GeneratedRow) for path in sorted((finished / "shards" / FOLDER).glob("*.parquet"))]
    assert len(answered) == 3
    for row in pl.concat(answered).to_dicts():
        message = [{"role": "user", "content": prompts[row["item_id"]]}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=control,
        )[0, ids.shape[1] :]  # fmt: skip
        stopped = int(output[-1]) in control
        spoken = output[:-1] if stopped else output
        assert (row["token_ids"], row["stopped"]) == (spoken.tolist(), stopped)


def test_rows_do_not_depend_on_the_order_of_pairs_or_the_size_of_shards(
    distillery: "Distillery", finished: Path, tmp_path: Path
) -> None:
    shuffled = distillery.pairs.sample(fraction=1.0, shuffle=True, seed=7)
    assert not shuffled.equals(distillery.pairs)
    distillery.run(tmp_path / "shuffled", shuffled)
    assert results(tmp_path / "shuffled") == results(finished)
    distillery.run(tmp_path / "large", shard_rows=100)
    assert results(tmp_path / "large") == results(finished)


def test_worker_processes_write_the_same_bytes(distillery: "Distillery", finished: Path, tmp_path: Path) -> None:
    distillery.run(tmp_path / "distill", workers=2)
    assert results(tmp_path / "distill") == results(finished)
    for path in sorted((finished / "shards").rglob("*.parquet")):
        other = tmp_path / "distill" / path.relative_to(finished)
        assert other.read_bytes() == path.read_bytes(), path.name
    assert not (tmp_path / "distill" / "wanted").exists()


class Killed(Exception):
    pass


def killed_after(calls: int):  # type: ignore[no-untyped-def]
    """Progress is told for each batch of answers, of which a shard has two here, and for each shard of translations."""
    seen = 0

    def progress(done: int, total: int, unit: str) -> None:
        nonlocal seen
        seen += 1
        if seen == calls:
            raise Killed

    return progress


@pytest.mark.parametrize("calls", [3, 4, 7, 10])
def test_a_killed_stage_goes_on_from_its_shards_to_the_same_bytes(
    distillery: "Distillery", finished: Path, tmp_path: Path, calls: int
) -> None:
    folder = tmp_path / "distill"
    with pytest.raises(Killed):
        distillery.run(folder, progress=killed_after(calls))
    made = {path: path.stat().st_mtime_ns for path in folder.glob("shards/**/*.parquet")}
    assert made
    distillery.run(folder)
    assert results(folder) == results(finished)
    assert {path: path.stat().st_mtime_ns for path in made} == made, "a finished shard was made twice"


def test_a_damaged_shard_is_made_again_and_strays_are_removed(
    distillery: "Distillery", finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "distill"
    distillery.run(folder, shard_rows=5)
    distillery.run(folder, shard_rows=4)
    shard = sorted((folder / "shards" / FOLDER).glob("*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[:-9])
    distillery.run(folder)
    assert results(folder) == results(finished)
    names = [sorted(path.relative_to(at).as_posix() for path in at.glob("shards/**/*")) for at in (folder, finished)]
    assert names[0] == names[1]


def test_answers_that_are_all_bad_stop_the_stage(distillery: "Distillery", tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of 12 answers .*raise `distillation.max_new_tokens`"):
        distillery.run(tmp_path / "distill", max_new_tokens=1)


def test_a_prompt_beyond_the_context_is_set_aside_in_every_task_and_counted_as_damage(
    distillery: "Distillery", finished: Path, tmp_path: Path
) -> None:
    asked = read_parquet(finished / "answers.parquet", DistilledAnswer)["pair_id"]
    long = distillery.pairs.with_columns(
        inputs_en=pl.when(pl.col("pair_id") == asked[0]).then(pl.lit("why " * 20_000)).otherwise("inputs_en")
    )
    counts = distillery.run(tmp_path / "distill", long)
    quarantine = read_parquet(tmp_path / "distill" / "quarantine.parquet", QuarantinedRow)
    of_pair = quarantine.filter(pl.col("rule") == "prompt_longer_than_context")
    assert counts.quarantined["prompt_longer_than_context"] == of_pair.height >= 1
    assert {json.loads(row)["pair_id"] for row in of_pair["row_json"]} == {asked[0]}
    assert asked[0] not in rows_of(tmp_path / "distill").filter(pl.col("task") == "distilled")["pair_id"]
    with pytest.raises(ContractViolation, match="prompt_longer_than_context"):
        distillery.run(tmp_path / "strict", long, limit=0.0)


def test_tasks_without_answers_need_no_model(distillery: "Distillery", tmp_path: Path) -> None:
    unanswered = dict.fromkeys(("distilled", "cross_lingual", "translated_answer", "code_switched"), 0.0)
    counts = distillery.run(tmp_path / "distill", base=tmp_path, translator=tmp_path, **unanswered)
    asked = sum(round(share * distillery.pairs.height) for share in (0.1, 0.06))
    assert counts.kept == counts.read == asked


def test_english_pairs_alone_are_refused(distillery: "Distillery", tmp_path: Path) -> None:
    english = distillery.pairs.filter(pl.col("origin") == "english")
    with pytest.raises(ConfigError, match="none is drawn"):
        distillery.run(tmp_path / "distill", english)
