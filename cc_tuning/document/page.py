"""Documents as one HTML file: one script, no request, nothing trusted.

Jinja2 escapes every text. The only markup that is let through are the figures, which `axes` and `dots` draw with their
texts escaped, and the scripts of this package. A content security policy in the page names the hash of the script, and
forbids any other script and every request even if escaping failed. Without its script the page shows the same tables
and figures; sorting, filters and the explorer need it.
"""

import base64
import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup

from cc_tuning.document.blocks import Block, Document, Explorer, Figure, Table
from cc_tuning.document.packed import packed
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
    environment.filters |= {"visible": visible, "grouped": _grouped, "inline_svg": _inline_svg, "packed": packed}
    script = _script(document)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.jinja").render(
        document=document, script=Markup(script), script_hash=f"sha256-{digest}"
    )


def _script(document: Document) -> str:
    """What the page does, as one text that it names by its hash; empty when there is nothing to do."""
    blocks = [block for section in document.sections for block in section.blocks]
    names = ["tables.js"] if any(isinstance(block, Table) for block in blocks) else []
    names += ["explorer.js"] if any(isinstance(block, Explorer) for block in blocks) else []
    return "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _grouped(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Neighbouring blocks of one kind, so that the style sheet can lay them out together."""
    return [(kind, list(run)) for kind, run in groupby(blocks, key=lambda block: type(block).__name__.lower())]


def _inline_svg(figure: Figure) -> Markup:
    return Markup(inlined(figure.svg, figure.key))
