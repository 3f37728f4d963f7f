"""Which pairs each task takes.

Pairs that are not English stand in one order, by the hash of seed and `pair_id`, and every task takes the first ones
that it can use. So one answer of the base model serves all tasks that need one, as in the four combinations of Zhang et
al. (2024), and the draw depends neither on the order of the file nor on the number of rows around a pair.
"""

import polars as pl

from cc_tuning.distillation.code_switching import prose_words
from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.distillation.cutting import cut_in_two
from cc_tuning.selection.draw import draw_places


def draw_tasks(pairs: pl.DataFrame, config: DistillationConfig) -> pl.DataFrame:
    """Columns pair_id and task, a row for each row to make: round(share · N) of each task, or as many as can be used.

    N counts all pairs, English ones too.
    """
    foreign = pairs.filter(pl.col("origin") != "english")
    # A word of its own, so that these are not the very rows that the selection of the same seed took first.
    places = draw_places([f"distill/{pair_id}" for pair_id in foreign["pair_id"]], config.seed)
    ordered = foreign.with_columns(places.alias("place")).sort("place", "pair_id")
    drawn = []
    for task, share in config.shares.items():
        wanted = round(share * pairs.height)
        taken: list[str] = []
        for pair in ordered.iter_rows(named=True):
            if len(taken) == wanted:
                break
            if _can_be_used(pair, task, config):
                taken.append(pair["pair_id"])
        drawn.append(pl.DataFrame({"pair_id": pl.Series(taken, dtype=pl.String), "task": [task] * len(taken)}))
    return pl.concat([frame.cast({"task": pl.String}) for frame in drawn])


def _can_be_used(pair: dict[str, str], task: str, config: DistillationConfig) -> bool:
    if task == "code_switched":
        return bool(prose_words(pair["inputs_en"]))
    texts = {"partial_translation": ("inputs", "inputs_en"), "completion": ("targets", "targets_en")}.get(task, ())
    return all(cut_in_two(pair[name], config.shown_part) for name in texts)
