"""The drawing kit of pages: blocks, HTML, Markdown and SVG."""
