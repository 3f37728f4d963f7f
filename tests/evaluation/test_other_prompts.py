"""Whose English prompt stands in for an item's own: never one that says the same, and drawn by ids alone."""

import polars as pl
import pytest

from cc_tuning.evaluation.other_prompts import draw_others, other_items

IDS = [f"item-{number:03d}" for number in range(40)]
TEXTS = [f"What is {number // 2}?" for number in range(40)]  # two items of each text
CLUSTERS = [f"passage-{number // 5}" for number in range(40)]


def drawn(
    ids: list[str] = IDS, texts: list[str] = TEXTS, clusters: list[str | None] | None = None, seed: int = 0
) -> dict[str, str | None]:
    others = draw_others(ids, texts, clusters or [None] * len(ids), seed)
    return {item_id: None if other is None else ids[other] for item_id, other in zip(ids, others, strict=True)}


@pytest.mark.parametrize("clusters", [None, CLUSTERS], ids=["no clusters", "clusters"])
def test_each_item_gets_another_text_of_another_cluster_and_each_text_is_given_once(
    clusters: list[str | None] | None,
) -> None:
    others = drawn(clusters=clusters)
    text, cluster = dict(zip(IDS, TEXTS, strict=True)), dict(zip(IDS, clusters or IDS, strict=True))
    assert sorted(str(other) for other in others.values()) == IDS
    for item_id, other in others.items():
        assert other is not None
        assert text[other] != text[item_id]
        assert cluster[other] != cluster[item_id]


def test_the_draw_depends_on_ids_and_seed_and_not_on_the_order_of_rows() -> None:
    backwards = drawn(IDS[::-1], TEXTS[::-1], CLUSTERS[::-1])
    assert backwards == drawn(clusters=list(CLUSTERS))
    assert drawn(seed=1) != drawn(seed=0)


def test_items_with_more_than_half_of_them_alike_still_get_another_text() -> None:
    others = drawn(texts=["the same"] * 30 + TEXTS[30:])
    text = dict(zip(IDS, ["the same"] * 30 + TEXTS[30:], strict=True))
    assert all(other is not None and text[other] != text[item_id] for item_id, other in others.items())


def test_where_all_say_the_same_or_one_stands_alone_nobody_gets_any() -> None:
    assert set(drawn(texts=["the same"] * 40).values()) == {None}
    assert drawn(["only"], ["What?"], [None]) == {"only": None}
    assert set(drawn(clusters=["one passage"] * 40).values()) == {None}
    assert draw_others([], [], [], 0) == []


def frame(rows: list[tuple[str, str, str, str | None]]) -> pl.DataFrame:
    columns = ["benchmark", "language", "item_id", "prompt_en"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.lit(None, pl.String).alias("cluster"))


def test_a_parallel_benchmark_has_the_same_others_in_every_language_and_benchmarks_do_not_mix() -> None:
    rows = [
        (benchmark, language, f"{benchmark}-{number}", f"{benchmark} {number}?")
        for benchmark in ("XNLI", "MKQA")
        for language in ("de", "sw")
        for number in range(20)
    ]
    items = frame(rows).with_columns(frame(rows).pipe(other_items, seed=0))
    others = {
        key: dict(group.select("item_id", "other").iter_rows())
        for key, group in items.group_by("benchmark", "language")
    }
    for benchmark in ("XNLI", "MKQA"):
        assert others[benchmark, "de"] == others[benchmark, "sw"]
        assert all(str(other).startswith(benchmark) for other in others[benchmark, "de"].values())


def test_an_item_without_an_english_prompt_neither_gets_nor_gives_one() -> None:
    rows = [("XNLI", "de", f"item-{number}", None if number == 2 else f"Is it {number}?") for number in range(6)]
    others = other_items(frame(rows), seed=0).to_list()
    assert others[2] is None
    assert sorted(other for other in others if other) == [f"item-{number}" for number in (0, 1, 3, 4, 5)]
