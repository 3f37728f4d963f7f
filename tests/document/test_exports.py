"""A table in a file has the numbers behind its cells and every text, whatever that holds."""

import csv
import io
import re
from pathlib import Path

import polars as pl

from cc_tuning.document.blocks import Cell, Document, Section, Table, numeric
from cc_tuning.document.exports import escape_tex, table_csv, table_tex, write_table_parquet
from cc_tuning.document.visible import visible
from cc_tuning.document.writing import write_tables
from tests.document.test_document import HOSTILE

TABLE = Table(
    "made",
    "Made",
    ["method", "score", "score", "kept"],
    [
        [
            Cell("A", "with\nmatrix"),
            numeric("52.1", "[50.0, 54.0]", value=52.123, bounds=(50.0, 54.0)),
            numeric("–"),
            Cell("3"),
        ],
        [Cell("B"), numeric("–"), numeric("▲ +1.0", value=1.0), Cell("many")],
    ],
)
COMMANDS = {
    "textbackslash{}": "\\", "textasciitilde{}": "~", "textasciicircum{}": "^", "textless{}": "<", "textgreater{}": ">",
}  # fmt: skip


def read_tex(text: str) -> str:
    """What TeX shows of an escaped text, read letter by letter."""
    shown, at = "", 0
    maths = {"$-$": "−", r"$\uparrow$": "▲", r"$\downarrow$": "▼", r"$\Delta$": "Δ"}
    while at < len(text):
        rest = text[at:]
        if rest[0] == "\\":
            name = next((name for name in COMMANDS if rest[1:].startswith(name)), None)
            shown += COMMANDS[name] if name else rest[1]
            at += 1 + (len(name) if name else 1)
            assert name or rest[1] in "&%$#_{}", rest[:20]
        elif rest[0] == "$":
            name = next(name for name in maths if rest.startswith(name))
            shown += maths[name]
            at += len(name)
        elif rest[:3] in ("{[}", "{]}"):
            shown += rest[1]
            at += 3
        else:
            assert rest[0] not in "&%#_{}^[]<>", rest[:20]
            shown += " " if rest[0] == "~" else rest[0]
            at += 1
    return shown


def test_csv_has_numbers_with_the_ends_of_their_intervals_and_texts_elsewhere() -> None:
    rows = list(csv.reader(io.StringIO(table_csv(TABLE))))
    assert rows == [
        ["method", "score", "score low", "score high", "score (2)", "kept"],
        ["A, with, matrix", "52.123", "50.0", "54.0", "", "3"],
        ["B", "", "", "", "1.0", "many"],
    ]


def test_parquet_has_the_same_in_types(tmp_path: Path) -> None:
    write_table_parquet(TABLE, tmp_path / "made.parquet")
    frame = pl.read_parquet(tmp_path / "made.parquet")
    assert frame.columns == ["method", "score", "score low", "score high", "score (2)", "kept"]
    assert frame.schema["score"] == frame.schema["score (2)"] == pl.Float64
    assert frame.rows() == [("A, with, matrix", 52.123, 50.0, 54.0, None, "3"), ("B", None, None, None, 1.0, "many")]


def test_escaped_tex_reads_as_it_was_written() -> None:
    every = "".join(map(chr, range(32, 127))) + "−▲▼Δ\u00a0[x] é हिन्दी"
    assert read_tex(escape_tex(every)) == every.replace("\u00a0", " ")
    assert read_tex(escape_tex(HOSTILE)) == visible(HOSTILE).replace("\n", " ")


def test_tabular_has_a_line_for_each_row_and_a_cell_for_each_column() -> None:
    hostile = Table("x", "", [HOSTILE, "b"], [[Cell(HOSTILE, HOSTILE), numeric("1")], [Cell("c"), numeric("2")]])
    for table in (TABLE, hostile):
        lines = table_tex(table).splitlines()
        rows = [line for line in lines if line.endswith(r"\\")]
        assert len(rows) == 1 + len(table.rows)
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(table.columns) - 1 for row in rows)
        assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"\begin{tabular}{lrrl}" in table_tex(TABLE)
    assert r"52.1 {\scriptsize {[}50.0, 54.0{]}}" in table_tex(TABLE)


def test_every_table_of_a_document_is_written_by_its_key_and_empty_ones_are_not(tmp_path: Path) -> None:
    empty = Table("empty", "", ["x"], [])
    write_tables(Document("t", "s", [], [Section("a", "A", [], [TABLE, empty])]), tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["made.csv", "made.parquet", "made.tex"]
