"""The tables and texts of a page, read with the standard library's parser: what a reader sees, not what we meant."""

from html.parser import HTMLParser


class PageReader(HTMLParser):
    """`tables[id]` is a list of rows of cell texts; `elements` every (tag, attributes); `text` all text, unescaped."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._rows: list[list[str]] | None = None
        self._in_cell = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
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

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell and self._rows:
            self._rows[-1][-1] += data
