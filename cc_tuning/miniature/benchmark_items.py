"""Six miniature benchmarks under the BenchmarkItem contract, parallel in every language of the world."""

import random
from collections.abc import Mapping

import polars as pl

from cc_tuning.miniature.exercises import CHOICES_KINDS
from cc_tuning.miniature.lexicon import ENGLISH, tongue, tongues
from cc_tuning.miniature.random_draws import Pool, draw_all


def benchmark_items(sizes: Mapping[str, int], pool: Pool, seed: int) -> dict[str, pl.DataFrame]:
    """One frame per benchmark; `sizes` says how many items each has per language.

    Equal `item_id` is the same item in every language, and `prompt_en` is its English prompt.
    """
    return {benchmark: _items_of(benchmark, size, pool, seed) for benchmark, size in sizes.items()}


def _items_of(benchmark: str, size: int, pool: Pool, seed: int) -> pl.DataFrame:
    exercises = draw_all(benchmark, size, pool, random.Random(f"{benchmark}/{seed}"))
    rows = []
    for language in tongues():
        for number, exercise in enumerate(exercises):
            rendered = exercise.render(language)
            rows.append(
                {
                    "benchmark": benchmark,
                    "language": language.code,
                    "item_id": f"{benchmark.lower()}-{number:04d}",
                    "prompt": rendered.prompt,
                    "prompt_en": exercise.render(tongue(ENGLISH)).prompt,
                    "answers": list(rendered.answers),
                    "choices_kind": CHOICES_KINDS[benchmark],
                    "group": exercise.group,
                }
            )
    return pl.DataFrame(rows)
