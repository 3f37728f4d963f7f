"""The data of a recipe by language: counts, lengths, translations, examples."""
