"""Documents as one HTML file: no script, no request, nothing trusted.

Jinja2 escapes every text. The only markup that is let through are the figures, which `axes` draws; the text inside
them was escaped by matplotlib. A content security policy in the page forbids scripts and requests even if that
failed.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup

from cc_tuning.document.blocks import Block, Document, Figure
from cc_tuning.document.svg import inlined
from cc_tuning.document.visible import visible

_TEMPLATES = Path(__file__).with_name("templates")


def render_page(document: Document) -> str:
    """The whole document as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"visible": visible, "grouped": _grouped}
    environment.globals["inline_svg"] = _inline_svg
    return environment.get_template("page.html.jinja").render(document=document)


def _grouped(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Neighbouring blocks of one kind, so that the style sheet can lay them out together."""
    return [(kind, list(run)) for kind, run in groupby(blocks, key=lambda block: type(block).__name__.lower())]


def _inline_svg(figure: Figure) -> Markup:
    return Markup(inlined(figure.svg, figure.key))
