"""Comparisons of a report: their numbers, verdicts and sentences, worked out here by hand."""

import math
from dataclasses import replace
from statistics import fmean

import polars as pl
import pytest

from cc_tuning.evaluation.statistics.differences import paired_difference
from cc_tuning.evaluation.statistics.intervals import Interval, Settings
from cc_tuning.report.config import families_of
from cc_tuning.report.results import Results
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.scores import Bootstrap, Comparison, Measure, Variant
from cc_tuning.report.sentences import sentence
from cc_tuning.report.verdicts import adjusted_for_all, verdict_of
from data_contracts.parquet import conform
from data_contracts.schemas import ItemScore, Score
from tests.report.report_artifacts import World, mean_rows, score_rows
from tests.report.reported_runs import runs_of, seeds_of

XNLI, MKQA = Measure("XNLI", "accuracy"), Measure("MKQA", "accuracy")
NLL = Measure("XNLI", "gold_nll")
FOUND = Comparison(
    minuend=Variant("cc-tuning", "transform"), subtrahend=Variant("ml-sft", "off"), measure=XNLI,
    value=-1.9, low=-3.6, high=-0.2, p=0.03, p_items=0.03, p_holm=0.03, items=1000, languages=5, clusters=67,
    unmatched=0, confidence=0.95, smallest_showable=2.42, by_seed=(-1.9,), verdict="worse",
)  # fmt: skip
UNDECIDED = replace(FOUND, low=-4.0, high=0.2, p=0.08, p_items=0.08, p_holm=0.08, verdict="undecided")
LEAD = "cc-tuning (transform) is 1.9 points below ml-sft on XNLI; these 200 items a language could show 2.4 points; "


def results_of(world: World) -> Results:
    found = []
    for run in world.runs:
        scores = score_rows(run, world)
        found.append(
            RunEvidence(run, conform(scores, ItemScore, "made up"), conform(mean_rows(scores), Score, "made up"))
        )
    return Results(families_of(world.runs), found, Bootstrap(samples=300, confidence=0.95, seed=0))


def average(world: World, run: str, connection: str, measure: Measure, language: str | None = None) -> float:
    (of,) = (at for at in world.runs if at.name == run)
    scores = score_rows(of, world).filter(
        connection=connection, benchmark=measure.benchmark, metric=measure.metric
    )  # fmt: skip
    languages = [language] if language else world.languages
    return fmean(scores.filter(language=at)["value"].mean() for at in languages)


@pytest.fixture(scope="module")
def world() -> World:
    return World(runs=runs_of("ml-sft", "cc-tuning"), benchmarks=("XNLI", "MKQA"), items=30)


@pytest.fixture(scope="module")
def results(world: World) -> Results:
    return results_of(world)


def test_every_variant_is_compared_with_its_baseline_on_every_benchmark(results: Results, world: World) -> None:
    found = results.comparisons()
    modes = ("transform", "off", "parallel")
    assert [(at.minuend, at.measure) for at in found] == [
        (Variant("cc-tuning", mode), measure) for mode in modes for measure in (XNLI, MKQA)
    ]
    for at in found:
        ours, theirs = (
            average(world, side.family, side.connection, at.measure) for side in (at.minuend, at.subtrahend)
        )
        assert at.value == pytest.approx(ours - theirs)
        assert (at.items, at.languages, at.clusters, at.unmatched) == (90, 3, 30, 0)
        assert at.by_seed == pytest.approx((at.value,))
        assert at.p == at.p_items <= at.p_holm <= 2 * at.p + 1e-12  # two benchmarks


def test_comparison_equals_the_paired_difference_of_its_frames(results: Results, world: World) -> None:
    ours, theirs = (
        score_rows(run, world).filter(connection=connection, benchmark="XNLI", metric="accuracy")
        for run, connection in zip(world.runs[::-1], ("parallel", "off"), strict=True)
    )
    expected = paired_difference(ours, theirs, settings=Settings(samples=300))
    found = results.comparison(Variant("cc-tuning", "parallel"), Variant("ml-sft", "off"), XNLI)
    assert found is not None
    assert [found.value, found.low, found.high] == pytest.approx(
        [expected.value, expected.low, expected.high], abs=1e-4
    )
    assert found.p == pytest.approx(expected.p)
    assert found.smallest_showable == pytest.approx(expected.smallest_showable(0.95))


def test_language_and_group_are_compared_apart(results: Results, world: World) -> None:
    sides = Variant("cc-tuning", "off"), Variant("ml-sft", "off")
    in_arabic = results.comparison(*sides, XNLI, language="ar")
    assert in_arabic is not None
    assert in_arabic.value == pytest.approx(
        average(world, "cc-tuning", "off", XNLI, "ar") - average(world, "ml-sft", "off", XNLI, "ar")
    )
    assert (in_arabic.items, in_arabic.languages) == (30, 1)
    group = results.groups[0]
    of_group = results.comparison(*sides, XNLI, group)
    assert of_group is not None and of_group.items == 45
    assert results.comparison(*sides, Measure("XLSum", "rougeL")) is None


def test_item_without_an_english_prompt_is_unmatched_and_counted() -> None:
    world = World(runs=runs_of("ml-sft", "cc-tuning"), benchmarks=("XNLI",), items=30, lacks_english=("xnli-0004",))
    found = results_of(world).comparison(Variant("cc-tuning", "parallel"), Variant("ml-sft", "off"), XNLI)
    assert found is not None
    assert (found.items, found.clusters, found.unmatched) == (87, 29, 3)


def test_equal_runs_are_undecided_with_an_interval_around_0() -> None:
    runs = runs_of("ml-sft", "cc-tuning")
    world = World(runs=runs, draws={run.name: "same" for run in runs}, benchmarks=("XNLI",))
    found = results_of(world).comparison(Variant("cc-tuning", "off"), Variant("ml-sft", "off"), XNLI)
    assert found is not None
    assert (found.value, found.p, found.verdict) == (0, 1, "undecided")
    assert found.low == pytest.approx(-found.high) and found.high > 10


def test_seeds_of_both_sides_count(world: World) -> None:
    seeded = World(
        runs=(*runs_of("ml-sft"), *seeds_of(["cc-tuning"], (0, 1, 2), beside=["ml-sft"])),
        benchmarks=("XNLI",),
        items=30,
    )
    found = results_of(seeded).comparison(Variant("cc-tuning", "off"), Variant("ml-sft", "off"), XNLI)
    assert found is not None
    baseline = average(seeded, "ml-sft", "off", XNLI)
    by_seed = [average(seeded, f"cc-tuning.s{seed}", "off", XNLI) - baseline for seed in (0, 1, 2)]
    assert found.by_seed == pytest.approx(by_seed)
    assert found.value == pytest.approx(fmean(by_seed))
    assert found.p >= found.p_items
    spread = (max(by_seed) - min(by_seed)) / 2
    assert found.high - found.low > spread  # 3 seeds: more than four standard errors of theirs


@pytest.mark.parametrize(
    ("measure", "low", "high", "p", "verdict"),
    [
        (XNLI, 0.1, 3.0, 0.04, "better"), (XNLI, -3.0, -0.1, 0.04, "worse"), (XNLI, -0.1, 3.0, 0.04, "undecided"),
        (XNLI, 0.1, 3.0, 0.06, "undecided"), (XNLI, 0.0, 3.0, 0.04, "undecided"), (NLL, 0.1, 3.0, 0.04, "worse"),
        (NLL, -3.0, -0.1, 0.04, "better"),
    ],
)  # fmt: skip
def test_verdict_asks_for_p_and_interval_in_the_direction_of_the_metric(
    measure: Measure, low: float, high: float, p: float, verdict: str
) -> None:
    assert verdict_of(measure, Interval((low + high) / 2, low, high), p, 0.95) == verdict


def test_adjusting_for_several_takes_back_what_one_alone_would_have_been() -> None:
    alone = adjusted_for_all([FOUND], 0.95)
    assert [at.verdict for at in alone] == ["worse"]
    among = adjusted_for_all([FOUND, replace(UNDECIDED, p=0.5)], 0.95)
    assert [at.p_holm for at in among] == [0.06, 0.5]
    assert [at.verdict for at in among] == ["undecided", "undecided"]


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            UNDECIDED,
            LEAD + "nothing can be said.",
        ),
        (
            FOUND,
            "cc-tuning (transform) is 1.9 points below ml-sft on XNLI; these 200 items a language show this as a "
            "difference of 0.2 to 3.6 points (p = 0.0300).",
        ),
        (
            replace(FOUND, value=12.25, low=9.0, high=15.5, p_holm=1e-9, items=200, languages=1, verdict="better"),
            "cc-tuning (transform) is 12.2 points above ml-sft on XNLI; these 200 items show this as a difference of "
            "9.0 to 15.5 points (p below 0.0001).",
        ),
        (
            replace(UNDECIDED, value=0.0, low=-3.0, high=3.0, p=1.0, p_items=1.0, p_holm=1.0),
            "cc-tuning (transform) and ml-sft are equal on XNLI; these 200 items a language could show 2.4 points; "
            "nothing can be said.",
        ),
        (
            replace(UNDECIDED, p_items=0.01, by_seed=(-4.0, 0.2)),
            LEAD + "the items would tell it from none, but the seeds lie too far apart; nothing can be said.",
        ),
        (
            replace(UNDECIDED, low=-3.6, high=-0.2, p=0.03, p_items=0.03, p_holm=0.18),
            LEAD + "alone it would be called a difference, among all that were compared with it it may be chance.",
        ),
        (
            replace(UNDECIDED, p=0.04, p_items=0.04, p_holm=0.04),
            LEAD + "its interval holds 0; nothing can be said.",
        ),
        (
            replace(UNDECIDED, low=-3.9, high=0.1, p=0.04, p_items=0.04, p_holm=0.24),
            LEAD + "its interval holds 0; nothing can be said.",
        ),
        (
            replace(FOUND, measure=NLL, value=-0.0123, low=-0.02, high=-0.0046, verdict="better"),
            "cc-tuning (transform) is 0.0123 nats per token below ml-sft on XNLI gold NLL, which is better; these 200 "
            "items a language show this as a difference of 0.0046 to 0.0200 nats per token (p = 0.0300).",
        ),
        (
            replace(UNDECIDED, measure=NLL, value=0.01, items=1003, smallest_showable=0.0312),
            "cc-tuning (transform) is 0.0100 nats per token above ml-sft on XNLI gold NLL, which is worse; these about "
            "201 items a language could show 0.0312 nats per token; nothing can be said.",
        ),
        (
            replace(UNDECIDED, items=1, languages=1, smallest_showable=90.0),
            "cc-tuning (transform) is 1.9 points below ml-sft on XNLI; this one item could show 90.0 points; nothing "
            "can be said.",
        ),
        (
            replace(UNDECIDED, items=1, languages=1, smallest_showable=185.8),
            "cc-tuning (transform) is 1.9 points below ml-sft on XNLI; this one item could show no difference, however "
            "large; nothing can be said.",
        ),
        (
            replace(UNDECIDED, measure=NLL, value=0.01, items=5, smallest_showable=math.inf),
            "cc-tuning (transform) is 0.0100 nats per token above ml-sft on XNLI gold NLL, which is worse; this "
            "one item a language could show no difference, however large; nothing can be said.",
        ),
    ],
    ids=[
        "undecided", "worse", "better", "equal", "seeds", "several", "interval", "several and interval",
        "lower is better",
        "worse where lower is better", "one item", "more than the scale has", "no end",
    ],
)  # fmt: skip
def test_sentence_says_what_the_numbers_say(comparison: Comparison, expected: str) -> None:
    assert sentence(comparison) == expected


def test_sentence_of_a_report_has_the_names_of_the_page(results: Results) -> None:
    (found, *_) = results.comparisons()
    assert results.sentence(found).startswith("CC-Tuning with its matrix is ")
    assert " ML-SFT on XNLI; these 30 items a language" in results.sentence(found)


def test_no_score_is_no_comparison() -> None:
    empty = results_of(World(runs=runs_of("ml-sft"), benchmarks=("XNLI",), items=1))
    assert empty.comparisons() == ()
    assert empty.baseline_of(Variant("ml-sft", "off")) is None
    assert isinstance(empty.item_scores, pl.DataFrame)
