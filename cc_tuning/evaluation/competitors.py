"""Other ways to bring the English version to a prompt, as token ids: what a connection has to be better than.

| mode | English version | where it comes in |
| --- | --- | --- |
| `context` | the item's own | as text before the prompt, the connection off |
| `pivot` | made by a translator | through the connection, as in `parallel` |
| `pivot_context` | made by a translator | as text before the prompt, the connection off |

An English prompt is its own English version: `pivot` connects it with itself, and as text it is not said twice. An item
that the translator has no English for is asked with the connection off and without a text, so that a figure is about
the same items as that of `off` and pays for what could not be translated.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from cc_tuning.evaluation.config import Competitor
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.model.config import NEED_ENGLISH, ConnectionMode
from cc_tuning.text.prompts import in_context

EvaluationMode = ConnectionMode | Competitor
"""What stands in the column `connection` of what an evaluation writes."""
ENGLISH = "en"
_IDS = {"context": "context_ids", "pivot": "pivot_ids", "pivot_context": "pivot_context_ids"}
_TOKENS = pl.List(pl.Int32)

Encode = Callable[[Sequence[str]], list[list[int]]]


def id_columns(competitors: Sequence[Competitor]) -> list[str]:
    """The columns that `with_competitors` adds for these."""
    return [_IDS[name] for name in competitors]


def with_competitors(
    items: pl.DataFrame, competitors: Sequence[Competitor], pivots: pl.DataFrame, encode: Encode
) -> pl.DataFrame:
    """BenchmarkItem rows with the ids of what each competitor reads, null where there is no English for it.

    `context_ids` and `pivot_context_ids` are whole prompts, `pivot_ids` English ones; `pivots` are PivotPrompt rows.
    """
    for name in competitors:
        texts = _texts(items, name, pivots)
        encoded = iter(encode([text for text in texts if text is not None]))
        ids = [None if text is None else next(encoded) for text in texts]
        items = items.with_columns(pl.Series(_IDS[name], ids, dtype=_TOKENS))
    return items


def _texts(items: pl.DataFrame, name: Competitor, pivots: pl.DataFrame) -> list[str | None]:
    prompts = items["prompt"].to_list()
    english = items["prompt_en"].to_list() if name == "context" else _pivot_texts(items, pivots)
    if name == "pivot":
        return english
    return [None if of is None else in_context(prompt, of) for prompt, of in zip(prompts, english, strict=True)]


def _pivot_texts(items: pl.DataFrame, pivots: pl.DataFrame) -> list[str | None]:
    """The English that nobody wrote: of an English prompt itself, else the translator's, or None."""
    translated = pivots.select(*(pl.col(name).cast(pl.String) for name in ITEM_KEY), pivot="prompt_en")
    keyed = items.select(*(pl.col(name).cast(pl.String) for name in ITEM_KEY), "prompt")
    joined = keyed.join(translated, on=ITEM_KEY, how="left", validate="1:1", maintain_order="left")
    texts: list[str | None] = joined.select(
        pl.when(pl.col("language") == ENGLISH).then("prompt").otherwise("pivot")
    ).to_series().to_list()  # fmt: skip
    return texts


class Part(NamedTuple):
    """Rows that are asked in one way; `suffix` tells the parts of a mode apart."""

    suffix: str
    connection: ConnectionMode
    rows: pl.DataFrame


def parts_of(mode: EvaluationMode, rows: pl.DataFrame) -> list[Part]:
    """How an engine is asked `rows` in a mode: through which connection, with which prompt and English prompt.

    Left out are items that the mode reads an English prompt of and that have none, but not those of the modes with a
    translator.
    """
    if mode == "context":
        of_context = rows.filter(pl.col("context_ids").is_not_null())
        return [Part("", "off", of_context.with_columns(input_ids="context_ids"))]
    if mode == "pivot":
        has_pivot = pl.col("pivot_ids").is_not_null()
        connected = rows.filter(has_pivot).with_columns(english_input_ids="pivot_ids")
        return [Part("", "parallel", connected), Part(".off", "off", rows.filter(~has_pivot))]
    if mode == "pivot_context":
        return [Part("", "off", rows.with_columns(input_ids=pl.coalesce("pivot_context_ids", "input_ids")))]
    if mode in NEED_ENGLISH:
        takes_part = rows["other" if mode == "other" else "english_input_ids"].is_not_null()
        return [Part("", mode, rows if takes_part.all() else rows.filter(takes_part))]
    return [Part("", mode, rows)]
