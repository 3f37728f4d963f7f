"""The data card of a recipe: which rows a model learns from, where their English comes from, and what was set aside."""
