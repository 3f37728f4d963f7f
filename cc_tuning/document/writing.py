"""Documents on disk."""

from pathlib import Path

from cc_tuning.document.blocks import Document, Figure, Table
from cc_tuning.document.exports import table_csv, table_tex, write_table_parquet
from cc_tuning.document.markdown import render_markdown
from cc_tuning.document.page import render_page
from data_contracts.files import written_atomically
from data_contracts.layout import REPORT_FIGURES


def write_document(document: Document, page: Path, markdown: Path) -> None:
    """Write a document as HTML to `page` and as Markdown to `markdown`, with its figures in a folder beside that."""
    write_text(page, render_page(document))
    write_text(markdown, render_markdown(document))
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                write_text(markdown.parent / REPORT_FIGURES / f"{block.key}.svg", block.svg)


def write_tables(document: Document, folder: Path) -> None:
    """Write every table of a document to `folder` as CSV, as LaTeX and as parquet, named by its key."""
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table) and block.rows:
                write_text(folder / f"{block.key}.csv", table_csv(block))
                write_text(folder / f"{block.key}.tex", table_tex(block))
                write_table_parquet(block, folder / f"{block.key}.parquet")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none, in UTF-8 with line feeds on every system."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
