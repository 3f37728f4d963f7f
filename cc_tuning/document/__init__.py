"""Documents of tables, figures and texts, written as one HTML file and as Markdown: the report, and the data card.

`blocks` has the values, `page` and `markdown` write them, `axes` draws. Nothing here knows what a document is about.
"""
