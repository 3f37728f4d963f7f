"""The first screen says what the tables say: sentences, picture, heat map and the table of runs."""

import re

import pytest

from cc_tuning.pipeline.runs import read_runs
from tests.document.page_reader import PageReader, packed_records
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World
from tests.report.reported_runs import runs_of
from tests.report.test_report_numbers import average, cells, items_of, numbers

CLEAR = World(
    runs=runs_of("ml-sft", "cc-tuning"), benchmarks=("XNLI", "MKQA"), items=40, grouped=False, likelihoods=True,
    shares={("ml-sft", "XNLI"): 0.1, ("cc-tuning", "XNLI"): 0.9, ("cc-tuning", "MKQA"): 0.02, ("ml-sft", "MKQA"): 0.98},
)  # fmt: skip


@pytest.fixture(scope="module")
def clear(build_report: BuildReport) -> Built:
    return build_report(CLEAR)


@pytest.fixture(scope="module")
def page(clear: Built) -> PageReader:
    return PageReader(clear.text("index.html"))


def test_what_is_clear_is_said_with_its_numbers(page: PageReader) -> None:
    found = cells(page, "differences")
    gain = numbers(found["CC-Tuning\nTransform Matrix − ML-SFT", "XNLI"])[0]
    loss = numbers(found["CC-Tuning\nTransform Matrix − ML-SFT", "MKQA"])[0]
    sentence = (
        f"CC-Tuning with its matrix is clearly better on XNLI (+{gain} points), clearly worse on MKQA "
        f"(−{-loss} points), held against ML-SFT."
    )
    assert sentence in page.text
    assert found["CC-Tuning\nTransform Matrix − ML-SFT", "XNLI"].startswith("▲")
    assert found["CC-Tuning\nTransform Matrix − ML-SFT", "MKQA"].startswith("▼")


def test_what_is_not_clear_is_said_not_to_be(build_report: BuildReport) -> None:
    equal = {run.name: "same" for run in runs_of("ml-sft", "cc-tuning")}
    world = World(benchmarks=("XNLI", "MKQA"), grouped=False, draws=equal, shares={("same", "XNLI"): 0.5})
    text = PageReader(build_report(world).text("index.html")).text
    sentence = (
        r"CC-Tuning with its matrix against ML-SFT: on all 2 benchmarks nothing can be said, these items could show "
        r"(\d+\.\d)( to (\d+\.\d))? points\."
    )
    assert re.search(sentence, text)


def test_one_run_alone_is_compared_with_nothing(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(runs=runs_of("ml-sft"), grouped=False)).text("index.html"))
    assert "No run is held against another" in page.text
    assert "differences" not in page.tables
    assert cells(page, "heat-scores")


def test_heat_map_has_the_difference_of_each_language(page: PageReader) -> None:
    items = items_of(CLEAR)
    for (row, benchmark), cell in cells(page, "heat-0").items():
        language = row.split()[0]
        ours, theirs = (
            sum(values.values()) / len(values)
            for values in (
                items["cc-tuning", "transform", benchmark, "accuracy", language],
                items["ml-sft", "off", benchmark, "accuracy", language],
            )
        )
        assert numbers(cell)[0] == pytest.approx(ours - theirs, abs=0.0501)


def test_shades_of_the_heat_map_follow_the_sign(clear: Built) -> None:
    table = clear.text("index.html").partition('id="table-heat-0"')[2].partition("</table>")[0]
    shaded = re.findall(r'class="number shade(-?\d)" data-value="([^"]*)"', table)
    assert shaded
    assert all((int(shade) > 0) == (float(value) > 0) for shade, value in shaded)


def test_likelihoods_stand_in_tables_of_their_own_where_lower_is_better(page: PageReader) -> None:
    found = cells(page, "metric-gold_nll")
    assert {column for _, column in found} == {"XNLI", "MKQA"}
    expected = average(CLEAR, ("cc-tuning", "transform"), ("XNLI", "gold_nll"))
    assert numbers(found["CC-Tuning\nTransform Matrix", "XNLI"])[0] == pytest.approx(expected, abs=0.000501)
    assert "gold NLL (nats per token, lower is better)" in page.text
    for cell in cells(page, "metric-gold_nll-differences").values():
        value = numbers(cell)[0]
        assert not ("▲" in cell and value > 0) and not ("▼" in cell and value < 0)
    assert not [column for _, column in cells(page, "headline") if "NLL" in column]


def test_controls_stand_where_they_were_measured_and_nowhere_else(build_report: BuildReport) -> None:
    world = World(benchmarks=("MKQA",), grouped=False, likelihoods=True, controls=("constant", "identity"))
    page = PageReader(build_report(world).text("index.html"))
    controls = {"CC-Tuning\nconstant vector", "CC-Tuning\nits own activation"}
    assert controls < {row for row, _ in cells(page, "metric-gold_nll")}
    assert not controls & {row for row, _ in cells(page, "headline")}
    answerers = packed_records(page)["answerers"]
    assert len(answerers) == 4 and not {"CC-Tuning, constant vector"} & set(answerers)


def test_pictures_say_their_numbers_in_words(page: PageReader) -> None:
    labels = [str(attributes["aria-label"]) for _, attributes in page.elements if attributes.get("role") == "img"]
    gain = numbers(cells(page, "differences")["CC-Tuning\nTransform Matrix − ML-SFT", "XNLI"])
    assert any(
        f"CC-Tuning, Transform Matrix − ML-SFT: XNLI +{gain[0]} (+{gain[1]} to +{gain[2]})" in at for at in labels
    )


def test_every_difference_stands_in_a_sentence(page: PageReader) -> None:
    header, *rows = page.tables["words"]
    assert header == ["method", "benchmark", "in words"]
    assert len(rows) == len(cells(page, "differences"))
    assert all("CC-Tuning" in row[2] and "ML-SFT" in row[2] for row in rows)


def test_runs_are_told_in_words(build_report: BuildReport) -> None:
    mine = {"name": "cc-mean", "like": "cc-tuning", "label": "Mine", "set": {"connection.selector": "mean"}}
    specs = [run.model_dump(mode="json") for run in read_runs(["base", "ml-sft", "cc-tuning+mt", mine])]
    world = World(runs=runs_of("ml-sft", "cc-tuning+mt", "cc-mean"), benchmarks=("MKQA",), grouped=False)
    rows = PageReader(build_report(world, runs=specs).text("index.html")).tables["runs"]
    assert [[row[0], row[1].split("\n")[0], *row[2:4]] for row in rows[1:]] == [
        ["ML-SFT\nml-sft", "sft, all weights", "pairs", "no"],
        ["CC-Tuning +MT\ncc-tuning+mt", "sft, all weights", "pairs and +MT", "yes"],
        ["CC-Tuning, mean of layers\ncc-mean", "sft, all weights", "pairs", "yes"],
    ]
    assert "negative log-likelihood of the response" in rows[1][1]
    assert rows[3][5] == "connection.selector: mean"
