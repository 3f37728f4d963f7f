"""The prompts of the benchmarks in 22 languages: one order of lines per benchmark, one file of words per language.

`render` fills both with the texts of an item. The words are this project's own (docs/prompts.md shows all of them); the
order of lines follows the prompts of Ye et al. 2025 where the paper has the benchmark.
"""

from cc_tuning.evaluation.prompts.named_fields import NAMED_FIELDS
from cc_tuning.evaluation.prompts.rendering import (
    labels_in,
    languages_of,
    layout_of,
    option_labels,
    relation_words,
    render,
)

__all__ = ["NAMED_FIELDS", "labels_in", "languages_of", "layout_of", "option_labels", "relation_words", "render"]
