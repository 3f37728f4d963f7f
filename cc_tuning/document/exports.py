"""Tables of a document as files for other programs: CSV and parquet with the numbers, LaTeX with the shown texts.

A cell with a number behind it gives that number, and where it has an interval two more columns with its ends; any other
cell gives its text. LaTeX needs the packages `booktabs` and, for other scripts than Latin, XeLaTeX or LuaLaTeX.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cc_tuning.document.blocks import Cell, Table
from cc_tuning.document.visible import visible
from data_contracts.files import written_atomically

Value = str | float | None
_DECIMALS = 6
"""Of a number in a file; what is smaller is the rounding of sums."""

_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "−": "$-$",
        "▲": r"$\uparrow$",
        "▼": r"$\downarrow$",
        "Δ": r"$\Delta$",
        "\u00a0": "~",
        # A line of a table begins with `[` only by mistake: after a row's end it would be an optional argument.
        "[": "{[}",
        "]": "{]}",
        "\n": " ",
    }
)


def table_csv(table: Table) -> str:
    """The table as comma-separated text with a header; an empty field where there is nothing."""
    text = io.StringIO()
    columns = list(_columns(table))
    rows = zip(*(values for _, values in columns), strict=True)
    csv.writer(text, lineterminator="\n").writerows([[name for name, _ in columns], *rows])
    return text.getvalue()


def write_table_parquet(table: Table, path: Path) -> None:
    """Write the table to `path`: float64 where every cell of a column is a number or missing, text otherwise."""
    arrays = {name: pa.array(values) for name, values in _columns(table)}
    with written_atomically(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd", write_page_checksum=True)


def table_tex(table: Table) -> str:
    """The table as a `tabular` between the rules of booktabs, with the texts of the page, escaped."""
    numeric = [bool(table.rows) and all(row[at].is_number for row in table.rows) for at in range(len(table.columns))]
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('r' if is_number else 'l' for is_number in numeric)}}}",
        r"\toprule",
        _line([escape_tex(column) for column in table.columns]),
        r"\midrule",
        *(_line([_tex_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape_tex(text: str) -> str:
    """`text` so that TeX sets it as it is; line ends become blanks."""
    return visible(text).translate(_ESCAPES)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_cell(cell: Cell) -> str:
    if not cell.detail:
        return escape_tex(cell.text)
    return rf"{escape_tex(cell.text)} {{\scriptsize {escape_tex(cell.detail)}}}"


def _columns(table: Table) -> Iterator[tuple[str, Sequence[Value]]]:
    """Each column with its name, and after it the ends of its intervals where it has some; names are unique."""
    names: dict[str, int] = {}
    for at, title in enumerate(table.columns):
        cells = [row[at] for row in table.rows]
        names[title] = names.get(title, 0) + 1
        name = title if names[title] == 1 else f"{title} ({names[title]})"
        are_numbers = any(cell.value is not None for cell in cells) and all(
            cell.value is not None or cell.is_number for cell in cells
        )
        yield name, [_rounded(cell.value) for cell in cells] if are_numbers else list(map(_text, cells))
        if are_numbers and any(cell.bounds for cell in cells):
            for end, label in enumerate(("low", "high")):
                yield f"{name} {label}", [_rounded(cell.bounds[end]) if cell.bounds else None for cell in cells]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _text(cell: Cell) -> str:
    return visible(", ".join(part for part in (cell.text, *cell.detail.split("\n")) if part))
