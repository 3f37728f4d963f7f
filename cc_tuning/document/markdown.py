"""Documents as Markdown. Every text is escaped, because model output and data are hostile."""

from collections.abc import Sequence

from cc_tuning.document.blocks import (
    Block,
    Cell,
    Document,
    Examples,
    Explorer,
    Figure,
    Listing,
    Sample,
    Section,
    Table,
)
from cc_tuning.document.visible import visible
from data_contracts.layout import REPORT_FIGURES

_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]|~#$!"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "\r": "", "\n": "<br>"}
)


def escape_markdown(text: str) -> str:
    """`text` so that CommonMark and GitHub show it as it is, also inside a table cell; line ends become `<br>`.

    Addresses are broken up as well (`:` before `//`, the dot after `www`), or GitHub would turn them into links.
    """
    escaped = visible(text).translate(_ESCAPES)
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;")


def render_markdown(document: Document) -> str:
    """The whole document; its figures are looked for as `figures/<key>.svg` beside it."""
    lines = [f"# {escape_markdown(document.title)}", "", escape_markdown(document.summary), ""]
    lines += _grid(["", ""], [[name, value] for name, value in map(_escaped_pair, document.facts)])
    for section in document.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _escaped_pair(pair: tuple[str, str]) -> tuple[str, str]:
    return escape_markdown(pair[0]), escape_markdown(pair[1])


def _section(section: Section) -> list[str]:
    lines = ["", f"## {escape_markdown(section.title)}", ""]
    for paragraph in section.paragraphs:
        lines += [escape_markdown(paragraph), ""]
    for block in section.blocks:
        lines += _block(block)
    return lines


def _block(block: Block) -> list[str]:
    match block:
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Sample():
            return _sample(block)
        case Listing():
            return _listing(block)
        case Examples():
            return _examples(block)
        case Explorer():
            return [f"### {escape_markdown(block.title)}", "", escape_markdown(block.note), ""] if block.title else []


def _table(table: Table) -> list[str]:
    lines = [f"### {escape_markdown(table.title)}", ""] if table.title else []
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    lines += _grid([escape_markdown(column) for column in table.columns], rows, _alignments(table))
    if table.note:
        lines += [escape_markdown(table.note), ""]
    return lines


def _cell(cell: Cell) -> str:
    return "<br>".join(escape_markdown(part) for part in (cell.text, cell.detail) if part)


def _alignments(table: Table) -> list[str]:
    if not table.rows:
        return ["---"] * len(table.columns)
    return ["---:" if cell.is_number else "---" for cell in table.rows[0]]


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], alignments: Sequence[str] = ()) -> list[str]:
    marks = alignments or ["---"] * len(header)
    return [_line(header), _line(marks), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(figure: Figure) -> list[str]:
    lines = [f"### {escape_markdown(figure.title)}", ""]
    lines += [f"![{escape_markdown(figure.alternative)}]({REPORT_FIGURES}/{figure.key}.svg)", ""]
    return [*lines, escape_markdown(figure.caption), ""] if figure.caption else lines


def _sample(sample: Sample) -> list[str]:
    rows = [["prompt", escape_markdown(sample.prompt), ""]]
    rows.append(["expected", "<br>".join(map(escape_markdown, sample.answers)), ""])
    for answer in sample.responses:
        label = "<br>".join(escape_markdown(part) for part in (answer.label, answer.note) if part)
        rows.append([label, escape_markdown(answer.text), escape_markdown(answer.score)])
    return [f"### {escape_markdown(sample.heading)}", "", *_grid(["", "text", "score"], rows)]


def _examples(examples: Examples) -> list[str]:
    lines = [f"### {escape_markdown(examples.title)}", ""]
    for example in examples.examples:
        lines += [escape_markdown(" | ".join(part for part in (example.heading, example.note) if part)), ""]
        passages = [[escape_markdown(at.label), escape_markdown(at.text)] for at in example.passages]
        lines += _grid(["", "text"], passages)
    return lines


def _listing(listing: Listing) -> list[str]:
    # A fence longer than any run of backticks inside cannot be closed by the text.
    longest = max((len(run) for run in _backtick_runs(listing.text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = visible(listing.text).rstrip("\n")
    return [f"### {escape_markdown(listing.title)}", "", f"{fence}{listing.language}", body, fence, ""]


def _backtick_runs(text: str) -> list[str]:
    return "".join(character if character == "`" else " " for character in text).split()
