"""Colours of figures, and figures as a part of a page.

The colours that a figure is drawn with are also the keys of `_PALETTE`: a figure can be written out for a white page as
it is or, inlined, take the light or dark colours of the page. Nothing here draws, so a page without figures needs no
matplotlib.
"""

import re

INK = "#1f2a36"
GRID = "#d8dde3"
PAPER = "#fefefe"
# Okabe and Ito's colours, safe for the common kinds of colour blindness, darkened where a thin line on white needs it.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#3f9fd8")

_PALETTE = {INK: "var(--ink)", GRID: "var(--line)", PAPER: "none"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)
}


def inlined(svg: str, key: str) -> str:
    """The `<svg>` element of a document for use inside a page: own ids, the page's colours, scalable, no namespaces.

    A browser's HTML parser supplies the namespaces; leaving them out leaves no address in the page at all.
    """
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", element, flags=re.DOTALL)
    opening = r'<svg \1 aria-hidden="true" focusable="false">'
    element = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', opening, element, count=1)
    element = re.sub(r'\bid="', f'id="{key}-', element)
    element = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{key}-", element).replace("xlink:href", "href")
    for colour, variable in _PALETTE.items():
        element = element.replace(colour, variable)
    return element
