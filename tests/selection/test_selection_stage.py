"""Selection: the same rows whatever the order, and every row either chosen, left, or set aside under its rule."""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import HubSource, LocalSource, Source
from cc_tuning.runtime.stage_table import SELECT
from cc_tuning.runtime.step import Outcome, run_step
from cc_tuning.selection.config import SelectionConfig
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.layout import SELECTED_ROWS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import AyaRow, QuarantinedRow
from data_contracts.store import ArtifactStore

AYA_LIKE = Path(__file__).resolve().parents[3] / "shared" / "data" / "aya_like"


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "inputs": f"¿Cuánto es {number} más uno?",
        "targets": str(number + 1),
        "language": "Spanish",
        "language_code": "spa",
        "annotation_type": "original-annotations",
        "user_id": "u",
    } | changes


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def select(
    folder: Path, source: Path | Source, limit: float = 0.05, **config: Any
) -> tuple[Outcome, pl.DataFrame, pl.DataFrame]:
    """The outcome, the chosen rows and the quarantined ones; compared with no benchmark item."""
    place = LocalSource.of(source) if isinstance(source, Path) else source
    store = ArtifactStore(folder / "store")
    step = SELECT.step(SelectionConfig(decontamination="none", **config), source=place)
    outcome = run_step(step, store, Execution(quarantine_limit=limit), no_progress)
    artifact = store.path(outcome.ref)
    return outcome, read_parquet(artifact / SELECTED_ROWS, AyaRow), read_parquet(artifact / QUARANTINE, QuarantinedRow)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = [row(number) for number in range(30)] + [row(40, inputs='two\r\nlines, "quoted"\n')]
    _, expected, _ = select(tmp_path, write_jsonl(tmp_path / "expected.jsonl", rows))
    path = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        write_jsonl(path, rows)
    elif suffix == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pl.DataFrame(rows).write_parquet(path)
    _, chosen, _ = select(tmp_path, path)
    assert chosen.equals(expected)
    assert chosen.height == 31


def test_choice_depends_on_the_seed_and_not_on_the_order_of_the_source(tmp_path: Path) -> None:
    rows = [row(number) for number in range(60)]
    # Which of two duplicates stays must not depend on the order either.
    rows += [row(7, user_id="a"), row(7, user_id="z")]
    shuffled = random.Random(0).sample(rows, len(rows))
    _, chosen, _ = select(tmp_path, write_jsonl(tmp_path / "a.jsonl", rows), rows=20)
    _, chosen_shuffled, _ = select(tmp_path, write_jsonl(tmp_path / "b.jsonl", shuffled), rows=20)
    _, other_seed, _ = select(tmp_path, tmp_path / "a.jsonl", rows=20, seed=1)
    assert chosen.equals(chosen_shuffled)
    assert chosen["row_id"].is_sorted()
    assert set(chosen["row_id"]) != set(other_seed["row_id"])


def test_more_rows_keep_the_ones_that_fewer_had_chosen(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [row(number) for number in range(60)])
    few, many = (set(select(tmp_path, source, rows=number)[1]["row_id"]) for number in (10, 30))
    assert few < many


BROKEN = {
    "null_text": row(1000, targets=None),
    "empty_text": row(1001, inputs=" \t\u200f\u3000\ufeff"),
    "unknown_language": row(1002, language_code="xx"),
    "invalid_unicode": row(1003, inputs="half \ud83d of a pair"),
    "not_text": row(1004, targets=5),
    "english_incomplete": row(1005, inputs_en="What?"),
    "duplicate_row": row(3),
}


@pytest.mark.parametrize("rule", sorted(BROKEN))
def test_broken_row_is_set_aside_under_its_rule_and_kept_as_json(tmp_path: Path, rule: str) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [row(number) for number in range(40)] + [BROKEN[rule]])
    outcome, chosen, quarantined = select(tmp_path, source)
    assert outcome.manifest.rows.quarantined == {rule: 1}
    assert (outcome.manifest.rows.read, chosen.height) == (41, 40)
    kept = json.loads(quarantined["row_json"][0])
    assert kept["language_code"] == BROKEN[rule]["language_code"]
    assert kept["row_id"] == quarantined["row_id"][0] != ""


def test_bytes_that_are_not_utf8_are_set_aside(tmp_path: Path) -> None:
    good = b"inputs,targets,language_code\n" + b"".join(b"pregunta %d,si,spa\n" % number for number in range(30))
    (tmp_path / "rows.csv").write_bytes(good + b"caf\xe9,si,spa\n" + b"too,many,fields,spa\n" + b"too few,spa\n")
    outcome, _, quarantined = select(tmp_path, tmp_path / "rows.csv", limit=0.2)
    assert outcome.manifest.rows.quarantined == {"invalid_unicode": 1, "malformed_line": 2}
    assert "caf\\\\udce9" in quarantined.filter(pl.col("rule") == "invalid_unicode")["row_json"][0]


def test_parquet_text_that_is_not_utf8_is_set_aside(tmp_path: Path) -> None:
    """Given to polars as it is, such a column makes it panic."""
    inputs = pa.array([b"pregunta %d" % number for number in range(30)] + [b"caf\xe9"], pa.binary()).view(pa.string())
    columns = {"inputs": inputs, "targets": pa.array(["si"] * 31), "language_code": pa.array(["spa"] * 31)}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    outcome, chosen, _ = select(tmp_path, tmp_path / "rows.parquet")
    assert outcome.manifest.rows.quarantined == {"invalid_unicode": 1}
    assert chosen.height == 30


def test_line_that_is_not_json_is_set_aside(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [row(number) for number in range(40)])
    source.write_bytes(source.read_bytes() + b'\n["a list"]\n{"inputs": "cut of')
    assert select(tmp_path, source)[0].manifest.rows.quarantined == {"malformed_line": 2}


def test_more_broken_rows_than_the_limit_stop_with_counts_and_examples(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)] + [row(99, language_code="xx"), row(1, inputs="")]
    with pytest.raises(ContractViolation, match=r"2 of 22 rows") as raised:
        select(tmp_path, write_jsonl(tmp_path / "rows.jsonl", rows))
    assert "{'empty_text': 1, 'unknown_language': 1}" in str(raised.value)
    assert '"language_code": "xx"' in str(raised.value)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    for suffix in ("jsonl", "parquet", "csv"):
        path = tmp_path / f"rows.{suffix}"
        if suffix == "jsonl":
            write_jsonl(path, [{"instruction": "a", "targets": "b"}])
        elif suffix == "csv":
            path.write_text("instruction,targets\na,b\n")
        else:
            pl.DataFrame({"instruction": ["a"], "targets": ["b"]}).write_parquet(path)
        with pytest.raises(ContractViolation, match=r"\['inputs', 'language_code'\] are missing.*instruction"):
            select(tmp_path, path)


def test_damaged_or_unknown_files_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame([row(number) for number in range(50)]).write_parquet(whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(ArtifactMismatch, match=r"cut\.parquet cannot be read as parquet"):
        select(tmp_path, tmp_path / "cut.parquet")
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"rows\.txt is not a source of rows"):
        select(tmp_path, tmp_path / "rows.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        select(tmp_path, tmp_path / "nowhere.parquet")
    (tmp_path / "open.csv").write_text('inputs,targets,language_code\n"never closed,si,spa\n')
    with pytest.raises(ContractViolation, match="not CSV"):
        select(tmp_path, tmp_path / "open.csv")
    pl.DataFrame({"inputs": [["a"]], "targets": ["b"], "language_code": ["spa"]}).write_parquet(
        tmp_path / "list.parquet"
    )
    with pytest.raises(ContractViolation, match="column inputs holds large_list"):
        select(tmp_path, tmp_path / "list.parquet")


def test_flipped_bit_in_a_checksummed_parquet_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.Table.from_pylist([row(number) for number in range(500)])
    pq.write_table(table, path, compression="none", write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[content.index("Cuánto es 250".encode())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactMismatch, match="cannot be read as parquet"):
        select(tmp_path, path)


def test_only_the_languages_asked_for_are_chosen(tmp_path: Path) -> None:
    rows = [row(number) for number in range(10)]
    rows += [row(number, language_code="swh", language="Swahili") for number in range(10)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    outcome, chosen, _ = select(tmp_path, source, languages=("swa",))
    assert set(chosen["language_code"]) == {"swh"}
    assert outcome.manifest.rows.not_selected == 10
    with pytest.raises(ConfigError, match=r"none of 20 rows was chosen.*deu"):
        select(tmp_path, source, languages=("deu",))
    with pytest.raises(ValidationError, match="'klingon'"):
        SelectionConfig(languages=("klingon",))


def test_columns_that_a_parallel_file_lacks_are_filled(tmp_path: Path) -> None:
    rows = [
        {"inputs": "你好", "targets": "好", "language_code": "zho", "inputs_en": "Hello", "targets_en": "Good"},
        {"inputs": "Jambo", "targets": "Ndiyo", "language_code": "swh", "inputs_en": " ", "targets_en": ""},
    ]
    _, chosen, _ = select(tmp_path, write_jsonl(tmp_path / "rows.jsonl", rows))
    by_code = {each["language_code"]: each for each in chosen.iter_rows(named=True)}
    assert by_code["zho"]["language"] == "Simplified Chinese"
    assert by_code["zho"]["inputs_en"] == "Hello"
    # Blank English is no English: the translator will be asked.
    assert by_code["swh"]["inputs_en"] is by_code["swh"]["targets_en"] is None


def test_pinned_hub_dataset_is_read_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of CohereLabs/aya_dataset, as the hub client keeps it once downloaded."""
    revision = "0" * 40
    snapshot = tmp_path / "hub" / "datasets--CohereLabs--aya_dataset" / "snapshots" / revision
    (snapshot / "data").mkdir(parents=True)
    pl.DataFrame([row(1), row(2)]).write_parquet(snapshot / "data" / "train-00000-of-00001.parquet")
    pl.DataFrame([row(3)]).write_parquet(snapshot / "data" / "test-00000-of-00001.parquet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _, chosen, _ = select(tmp_path, HubSource("CohereLabs/aya_dataset", revision))
    assert sorted(chosen["targets"]) == ["2", "3"]
    with pytest.raises(ConfigError, match="cannot be fetched"):
        select(tmp_path, HubSource("CohereLabs/aya_dataset", "1" * 40))


@pytest.mark.skipif(not AYA_LIKE.is_dir(), reason=f"{AYA_LIKE} is not here: real rows cannot be tried")
@pytest.mark.parametrize("name", ["aya_like.parquet", "aya_like_parallel.parquet"])
def test_all_real_rows_pass_and_have_the_same_ids_with_and_without_english(tmp_path: Path, name: str) -> None:
    outcome, chosen, _ = select(tmp_path, AYA_LIKE / name)
    assert (outcome.manifest.rows.read, outcome.manifest.rows.kept) == (3254, 3254)
    assert chosen["inputs_en"].null_count() == (3254 if name == "aya_like.parquet" else 0)
    _, other, _ = select(tmp_path, AYA_LIKE / "aya_like.parquet")
    assert chosen["row_id"].equals(other["row_id"])
