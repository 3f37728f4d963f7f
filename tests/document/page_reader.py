"""The tables and texts of a page, read with the standard library's parser: what a reader sees, not what we meant."""

import base64
import hashlib
import json
import zlib
from html.parser import HTMLParser
from typing import Any


class PageReader(HTMLParser):
    """`tables[id]` is a list of rows of cell texts; `elements` every (tag, attributes); `text` all text, unescaped.

    Scripts and styles are not text; the page's own script and its packed records are in `scripts` by their type.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str, list[str]] = {}
        self._rows: list[list[str]] | None = None
        self._in_cell = False
        self._script = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "script":
            self._script = attributes.get("type") or "text/javascript"
            self.scripts.setdefault(self._script, []).append("")
        elif tag == "table":
            self._rows = self.tables.setdefault(str(attributes["id"]).removeprefix("table-"), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("th", "td") and self._rows is not None:
            self._rows[-1].append("")
            self._in_cell = True
        elif tag == "small" and self._in_cell and self._rows is not None:
            self._rows[-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._in_cell = False
        elif tag == "table":
            self._rows = None
        elif tag == "script":
            self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script][-1] += data
            return
        self.text += data
        if self._in_cell and self._rows:
            self._rows[-1][-1] += data


def packed_records(page: PageReader) -> dict[str, Any]:
    """The records of the page's one explorer, their texts put in place."""
    (packed,) = page.scripts["application/octet-stream"]
    content = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert isinstance(content, dict)
    return content


def assert_nothing_foreign_runs(page: PageReader) -> None:
    """The page has no element that loads or runs anything, but for the one script that its policy names by its hash."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert set(page.scripts) <= {"text/javascript", "application/octet-stream"}
    (policy,) = [str(at["content"]) for _, at in page.elements if at.get("http-equiv") == "Content-Security-Policy"]
    allowed = {part.strip() for part in policy.split(";")}
    scripts = page.scripts.get("text/javascript", [""])
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in allowed
    assert "default-src 'none'" in allowed
