"""Rows as people keep them: shards, encodings, compressions, other columns, and missing text in every form."""

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping, Sequence
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
from cc_tuning.runtime.sources import LocalSource, Location
from cc_tuning.runtime.stage_table import SELECT
from cc_tuning.runtime.step import run_step
from cc_tuning.selection.columns import SourceColumns
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.sources import read_source
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import read_json
from data_contracts.layout import SELECTED_ROWS, SELECTION_SUMMARY
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import AyaRow, QuarantinedRow
from data_contracts.store import ArtifactStore

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "field_reports"
ROWS = [
    {"inputs": f"swali la {number}: «ndiyo», «hapana»?", "targets": f"jibu {number}", "language_code": "swh"}
    for number in range(6)
]


def select(folder: Path, source: Path, limit: float = 1.0, **columns: Any) -> tuple[pl.DataFrame, dict[str, int], Path]:
    """The chosen rows, the counts of those set aside, and the artifact's folder."""
    store = ArtifactStore(folder / "store")
    config = SelectionConfig(decontamination="none", columns=SourceColumns(**columns))
    step = SELECT.step(config, source=LocalSource.of(source))
    outcome = run_step(step, store, Execution(quarantine_limit=limit), no_progress)
    artifact = store.path(outcome.ref)
    return read_parquet(artifact / SELECTED_ROWS, AyaRow), outcome.manifest.rows.quarantined, artifact


def lines_of(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def csv_of(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> str:
    fields = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(delimiter.join(f'"{value}"' for value in each) + "\r\n" for each in fields)


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


FORMS: dict[str, tuple[str, bytes]] = {
    "array": ("rows.json", json.dumps(ROWS, indent=1).encode()),
    "array on one line": ("rows.jsonl", json.dumps(ROWS).encode()),
    "lines called json": ("rows.json", lines_of(ROWS).encode()),
    "gzip": ("rows.jsonl.gz", gzip.compress(lines_of(ROWS).encode())),
    "two gzip members": (
        "rows.jsonl.gz",
        gzip.compress(lines_of(ROWS[:2]).encode()) + gzip.compress(lines_of(ROWS[2:]).encode()),
    ),
    "gzip under a plain name": ("rows.csv", gzip.compress(csv_of(ROWS).encode())),
    "zstd": ("rows.csv.zst", zstd(csv_of(ROWS).encode())),
    "bzip2": ("rows.jsonl.bz2", bz2.compress(lines_of(ROWS).encode())),
    "xz": ("rows.csv.xz", lzma.compress(csv_of(ROWS).encode())),
    "UTF-8 with a mark": ("rows.csv", csv_of(ROWS).encode("utf-8-sig")),
    "UTF-16 with a mark": ("rows.jsonl", lines_of(ROWS).encode("utf-16")),
    "UTF-16 without a mark": ("rows.csv", csv_of(ROWS).encode("utf-16-le")),
    "UTF-32": ("rows.jsonl", lines_of(ROWS).encode("utf-32")),
    "semicolons": ("rows.csv", csv_of(ROWS, ";").encode()),
    "tabs": ("rows.tsv", csv_of(ROWS, "\t").encode()),
    "blank lines first": ("rows.jsonl", b"\n \n" + lines_of(ROWS).encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_text_file_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    (tmp_path / "plain.jsonl").write_text(lines_of(ROWS), encoding="utf-8")
    expected, _, _ = select(tmp_path, tmp_path / "plain.jsonl")
    name, content = FORMS[form]
    path = tmp_path / "other" / name
    path.parent.mkdir()
    path.write_bytes(content)
    chosen, quarantined, _ = select(tmp_path, path)
    assert chosen.equals(expected)
    assert (chosen.height, quarantined) == (6, {})


def as_views(table: pa.Table) -> pa.Table:
    return pa.table({name: table[name].cast(pa.string_view()) for name in table.column_names})


@pytest.mark.parametrize("convert", [as_views, lambda table: table], ids=["string views", "strings"])
def test_strings_of_every_arrow_type_are_text(tmp_path: Path, convert: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(convert(pa.Table.from_pylist(ROWS)), tmp_path / "rows.parquet")
    assert select(tmp_path, tmp_path / "rows.parquet")[0].height == 6


def save_to_disk(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The layout that `datasets` 4 writes: the streaming form of Arrow, and two files that describe it."""
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (folder / "dataset_info.json").write_text('{"features": {}}')


def parquet_shards(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    for number in range(2):
        rows = ROWS[3 * number : 3 * number + 3]
        pl.DataFrame(rows).write_parquet(folder / "data" / f"train-{number:05}-of-00002.parquet")
    pl.DataFrame([ROWS[0] | {"targets": "of the test"}]).write_parquet(folder / "data" / "test-00000-of-00001.parquet")
    (folder / "README.md").write_text("a card")


def json_shards(folder: Path) -> None:
    folder.mkdir()
    (folder / "part-0.jsonl").write_text(lines_of(ROWS[:4]))
    (folder / "part-1.jsonl.gz").write_bytes(gzip.compress(lines_of(ROWS[4:]).encode()))


def dataset_dict(folder: Path) -> None:
    save_to_disk(folder / "train", ROWS)
    save_to_disk(folder / "test", [ROWS[0] | {"targets": "of the test"}])
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


@pytest.mark.parametrize(
    "write", [parquet_shards, json_shards, dataset_dict, lambda folder: save_to_disk(folder, ROWS)]
)
def test_a_folder_is_its_training_shards_in_order(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "folder")
    # What the Finder, git and the hub's client leave is neither read nor part of the identity.
    before = LocalSource.of(tmp_path / "folder")
    (tmp_path / "folder" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "folder" / ".cache" / "huggingface" / "train.parquet").write_bytes(b"no parquet")
    (tmp_path / "folder" / "._train-00000-of-00002.parquet").write_bytes(b"a resource fork")
    assert LocalSource.of(tmp_path / "folder") == before
    chosen, _, _ = select(tmp_path, tmp_path / "folder")
    assert sorted(chosen["targets"]) == [f"jibu {number}" for number in range(6)]


def test_folders_that_leave_a_choice_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="no file below it ends in"):
        select(tmp_path, tmp_path / "none")
    json_shards(tmp_path / "two")
    pl.DataFrame(ROWS).write_parquet(tmp_path / "two" / "rows.parquet")
    with pytest.raises(ConfigError, match=r"several kinds \(json, parquet"):
        select(tmp_path, tmp_path / "two")
    save_to_disk(tmp_path / "other" / "validation", ROWS)
    with pytest.raises(ConfigError, match="holds the splits validation"):
        select(tmp_path, tmp_path / "other")


def test_damage_to_compressed_and_arrow_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines_of(ROWS * 50).encode())[:-20])
    with pytest.raises(ContractViolation, match=r"cut\.jsonl\.gz is damaged or cut"):
        select(tmp_path, tmp_path / "cut.jsonl.gz")
    (tmp_path / "cut.jsonl.xz").write_bytes(lzma.compress(lines_of(ROWS * 50).encode())[:-20])
    with pytest.raises(ContractViolation, match=r"cut\.jsonl\.xz is damaged or cut"):
        select(tmp_path, tmp_path / "cut.jsonl.xz")
    (tmp_path / "no.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactMismatch, match=r"no\.arrow cannot be read as Arrow"):
        select(tmp_path, tmp_path / "no.arrow")
    (tmp_path / "open.json").write_text('[\n{"inputs": "a"},\n')
    with pytest.raises(ContractViolation, match="begins as a JSON array and cannot be read as one"):
        select(tmp_path, tmp_path / "open.json")


MISSING = [None, float("nan"), "", " \t\u3000", "nan", "NaN"]


def test_a_zip_archive_is_named_whatever_it_is_called(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.jsonl", "w") as archive:
        archive.writestr("rows.jsonl", lines_of(ROWS))
    with pytest.raises(ContractViolation, match="is a zip archive"):
        select(tmp_path, tmp_path / "rows.jsonl")


def test_a_column_that_stands_twice_in_csv_is_named_and_not_its_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(csv_of(ROWS).replace("targets", "inputs", 1))
    with pytest.raises(ContractViolation, match="the header has 'inputs' more than once"):
        select(tmp_path, tmp_path / "rows.csv")


@pytest.mark.parametrize("missing", MISSING, ids=map(repr, MISSING))
def test_missing_english_is_missing_in_every_form_that_tools_write_it(tmp_path: Path, missing: object) -> None:
    rows = [ROWS[0] | {"inputs_en": "What?", "targets_en": "That."}]
    rows += [row | {"inputs_en": missing, "targets_en": missing} for row in ROWS[1:]]
    (tmp_path / "rows.jsonl").write_text(lines_of(rows))
    chosen, quarantined, _ = select(tmp_path, tmp_path / "rows.jsonl")
    assert chosen["inputs_en"].drop_nulls().to_list() == ["What?"]
    assert (chosen["targets_en"].null_count(), quarantined) == (5, {})


@pytest.mark.parametrize("missing", MISSING, ids=map(repr, MISSING))
def test_a_missing_answer_is_set_aside_and_never_learnt(tmp_path: Path, missing: object) -> None:
    (tmp_path / "rows.jsonl").write_text(lines_of([*ROWS[1:], ROWS[0] | {"targets": missing}]))
    chosen, quarantined, _ = select(tmp_path, tmp_path / "rows.jsonl")
    assert chosen.height == 5
    assert quarantined in ({"null_text": 1}, {"empty_text": 1})


def test_a_column_of_floats_without_a_number_is_missing_text(tmp_path: Path) -> None:
    nothing = pa.array([float("nan"), None] * 3, pa.float64())
    table = pa.Table.from_pylist(ROWS).append_column("inputs_en", nothing).append_column("targets_en", nothing)
    pq.write_table(table, tmp_path / "rows.parquet")
    chosen, quarantined, _ = select(tmp_path, tmp_path / "rows.parquet")
    assert (chosen["inputs_en"].null_count(), quarantined) == (6, {})


@pytest.mark.parametrize("value", [["a"], {"text": "a"}, 5, True], ids=repr)
@pytest.mark.parametrize("column", ["inputs", "targets", "inputs_en"])
def test_lists_objects_and_numbers_are_no_text(tmp_path: Path, column: str, value: object) -> None:
    broken = ROWS[0] | {"inputs_en": "What?", "targets_en": "That."} | {column: value}
    (tmp_path / "rows.jsonl").write_text(lines_of([*ROWS[1:], broken]))
    chosen, quarantined, artifact = select(tmp_path, tmp_path / "rows.jsonl")
    assert (chosen.height, quarantined) == (5, {"not_text": 1})
    kept = read_parquet(artifact / QUARANTINE, QuarantinedRow)
    assert json.loads(json.loads(kept["row_json"][0])[column]) == value


@pytest.mark.parametrize("line", ['{"inputs": "cut of', "[" * 100_000, "no JSON", '["a", "list"]', '{"a": 1}}'])
def test_one_bad_line_sets_aside_only_itself(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(lines_of(ROWS[:3]) + line + "\n" + lines_of(ROWS[3:]))
    chosen, quarantined, _ = select(tmp_path, tmp_path / "rows.jsonl")
    assert (chosen.height, quarantined) == (6, {"malformed_line": 1})


def test_the_line_of_a_fault_in_csv_is_the_one_it_stands_in(tmp_path: Path) -> None:
    lines = [*csv_of(ROWS[:5]).splitlines(), r'"Alisema \"ndiyo\" mara mbili","sawa","swh"', '"swali","jibu","swh"']
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ContractViolation, match=r"rows\.csv, line 7: not CSV"):
        select(tmp_path, tmp_path / "rows.csv")


def test_blank_lines_before_the_header_of_csv_are_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("\n\n" + csv_of(ROWS))
    assert len(select(tmp_path, tmp_path / "rows.csv")[0]) == len(ROWS)
    (tmp_path / "bad.csv").write_text("\n\ninputs,targets,language_code\n" + r'"a \"b\" c","d","swh"' + "\n")
    with pytest.raises(ContractViolation, match=r"bad\.csv, line 4: not CSV"):
        select(tmp_path, tmp_path / "bad.csv")


def test_columns_of_other_names_are_read_under_ours(tmp_path: Path) -> None:
    renamed = [{"question": row["inputs"], "answer": row["targets"]} for row in ROWS]
    (tmp_path / "ours.jsonl").write_text(lines_of(ROWS))
    expected, _, _ = select(tmp_path, tmp_path / "ours.jsonl")
    names = {"inputs": "question", "targets": "answer"}
    (tmp_path / "theirs.jsonl").write_text(lines_of(renamed))
    pl.DataFrame(renamed).write_parquet(tmp_path / "theirs.parquet")
    for name in ("theirs.jsonl", "theirs.parquet"):
        chosen, _, _ = select(tmp_path, tmp_path / name, names=names, language_code="swh")
        assert chosen.equals(expected)
    with pytest.raises(ContractViolation, match=r"columns \['question', 'answer'\] are missing.*data\.columns"):
        select(tmp_path, tmp_path / "ours.jsonl", names=names)


def test_alpaca_joins_instruction_and_input(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Tafsiri.", "input": "Good morning", "output": "Habari za asubuhi"},
        {"instruction": "Taja rangi.", "input": "", "output": "Bluu"},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    chosen, _, _ = select(tmp_path, tmp_path / "rows.json", layout="alpaca", language_code="swh")
    assert set(chosen.select("inputs", "targets").iter_rows()) == {
        ("Tafsiri.\nGood morning", "Habari za asubuhi"), ("Taja rangi.", "Bluu"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "speaker", "text", "user", "assistant"),
    [("sharegpt", "from", "value", "human", "gpt"), ("messages", "role", "content", "user", "assistant")],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_of_a_conversation_the_first_exchange_is_taken_and_the_rest_counted(
    tmp_path: Path, layout: str, speaker: str, text: str, user: str, assistant: str, suffix: str
) -> None:
    def turns(*spoken: tuple[str, str]) -> list[dict[str, str]]:
        return [{speaker: who, text: said} for who, said in spoken]

    column = "conversations" if layout == "sharegpt" else "messages"
    conversations = [
        turns((user, "Habari?"), (assistant, "Nzuri.")),
        turns(("system", "Jibu kwa ufupi."), (user, "Rangi?"), (assistant, "Bluu."), (user, "Nini?"), (assistant, "…")),
        turns((assistant, "Karibu!"), (user, "Habari?")),
        [],
    ]  # fmt: skip
    frame = pl.DataFrame({column: conversations, "lang": ["swh"] * 4})
    path = tmp_path / f"rows.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else path.write_text(lines_of(frame.to_dicts()))
    chosen, quarantined, artifact = select(tmp_path, path, layout=layout, names={"language_code": "lang"})
    assert set(chosen.select("inputs", "targets").iter_rows()) == {
        ("Habari?", "Nzuri."), ("Jibu kwa ufupi.\n\nRangi?", "Bluu."),
    }  # fmt: skip
    assert quarantined == {"not_a_conversation": 2}
    assert read_json(artifact / SELECTION_SUMMARY)["total"]["further_turns"] == 2


def test_a_mapping_of_unknown_columns_or_languages_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'alpaca' has no columns \['inputs'\]"):
        SourceColumns(layout="alpaca", names={"inputs": "question"})
    with pytest.raises(ValidationError, match="'klingon'"):
        SourceColumns(language_code="klingon")
    with pytest.raises(ValidationError, match="given twice"):
        SourceColumns(language_code="swh", names={"language_code": "lang"})


@pytest.mark.skipif(not REPORTS.is_dir(), reason=f"{REPORTS} is not here")
@pytest.mark.parametrize("name", ["english_nan.jsonl", "string_view.parquet", "array.jsonl", "dataset_folder"])
def test_sources_that_people_reported_are_read(tmp_path: Path, name: str) -> None:
    chosen, quarantined, _ = select(tmp_path, REPORTS / name)
    assert chosen.height > 0
    assert not quarantined
    assert "NaN" not in chosen["inputs_en"].to_list()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "bad",
    ["[" * 100_000 + "]" * 100_000, "[" * 100_000, '[{"inputs": "q"', '{"inputs": ' * 5_000, "1" * 5_000, "nullnull"],
    ids=["nested", "open", "half an array", "half an object", "a long number", "two values"],
)
def test_one_bad_line_costs_its_own_row_wherever_it_stands(tmp_path: Path, bad: str, place: int) -> None:
    lines = [json.dumps({"inputs": f"q{n}", "targets": "a", "language_code": "swh"}) for n in range(2)]
    lines.insert(place, bad)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    rows = read_source(Location(str(path)))
    assert rows["problem"].to_list() == ["malformed_line" if n == place else None for n in range(3)]
    assert rows.filter(pl.col("problem").is_null())["inputs"].to_list() == ["q0", "q1"]
