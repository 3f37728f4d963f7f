"""The report of a recipe: what was measured, in one HTML file and the same in Markdown."""
