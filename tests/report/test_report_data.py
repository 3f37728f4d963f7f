"""What a report and a data card say about the data is what the artifacts hold, counted again here by hand."""

import math
import statistics
from pathlib import Path

import polars as pl
import pytest
from sacrebleu import corpus_bleu, corpus_chrf
from typer.testing import CliRunner

from cc_tuning.document.blocks import Document
from cc_tuning.document.markdown import render_markdown
from cc_tuning.document.page import render_page
from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.report.data_card.card import card_sections
from cc_tuning.report.data_card.collecting import collect_counts
from cc_tuning.report.data_card.counts import ALL, UNKNOWN, DataCounts
from cc_tuning.report.data_card.examples import draw_examples
from cc_tuning.report.data_card.references import read_references, score_references
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import run_step
from data_contracts.errors import ArtifactMismatch
from data_contracts.store import ArtifactStore
from flows.cli import app
from tests.document.chromium import needs_chromium, opened
from tests.document.page_reader import PageReader, assert_nothing_foreign_runs
from tests.report.built_report import Built
from tests.report.data_artifacts import LANGUAGES, SET_ASIDE, data_files, pair_rows
from tests.report.report_artifacts import of_made_pairs, write_file

SMALLEST = Path(__file__).parents[1] / "flows" / "smallest.yaml"
HOSTILE = "<script>alert(1)</script> & <img src=x onerror=alert(1)>\n| `x` \u202e"


def written(folder: Path, pairs: pl.DataFrame) -> dict[str, Location]:
    for stage in ("select", "translate", "materialize"):
        for name, content in data_files(stage, pairs).items():
            write_file(folder / stage / name, content)
    write_file(folder / "materialize" / "manifest.json", {"config": {"setting": "plain"}})
    names = {"select": "select", "translate": "translate", "materialize/ml-sft": "materialize"}
    return {name: Location(str(folder / stage)) for name, stage in names.items()}


@pytest.fixture
def counts(tmp_path: Path) -> DataCounts:
    return collect_counts(written(tmp_path, pair_rows()))


def card(tmp_path: Path, pairs: pl.DataFrame) -> Document:
    inputs = written(tmp_path, pairs)
    examples = draw_examples(inputs["translate"].path / "pairs.parquet", seed=0)
    return Document("Data card: made-up", "", [], card_sections(collect_counts(inputs), examples, None))


def test_rows_are_counted_by_language_and_other_codes_count_to_it(counts: DataCounts) -> None:
    assert counts.pairs == {ALL: 20, "eng": 5, "urd": 5, "arb": 5, "swa": 5}
    assert counts.chosen == counts.training_rows == counts.pairs
    assert counts.origins[ALL, "translated"] == 12
    assert (counts.origins["urd", "given"], counts.origins["eng", "english"]) == (1, 5)


def test_rows_of_the_source_and_near_duplicates_are_those_of_the_selection(counts: DataCounts) -> None:
    assert counts.read == {ALL: 15, "swa": 9, "zho": 5, UNKNOWN: 1}
    assert counts.near_duplicates == {ALL: 3, "swa": 1, "zho": 2, UNKNOWN: 0}


def test_training_rows_of_a_setting_are_those_of_its_first_run(tmp_path: Path) -> None:
    inputs = written(tmp_path, pair_rows())
    for run, setting, rows in (("other-cut-off", "plain", 7), ("cc-tuning+en", "en", 40)):
        write_file(tmp_path / run / "manifest.json", {"config": {"setting": setting}})
        write_file(tmp_path / run / "summary.json", {"rows_by_task": {"native": rows}})
        inputs[f"materialize/{run}"] = Location(str(tmp_path / run))
    counts = collect_counts(inputs)
    assert counts.tasks == {("plain", "native"): 20, ("en", "native"): 40}
    (tmp_path / "cc-tuning+en" / "manifest.json").write_text('{"config": {}}', encoding="utf-8")
    with pytest.raises(ArtifactMismatch, match=r"manifest.json lacks 'setting'; run the stage that writes it again"):
        collect_counts(inputs)


def test_lengths_are_those_of_the_sorted_rows(counts: DataCounts) -> None:
    pairs = pair_rows()
    lengths = sorted(map(len, pairs.filter(pl.col("language_code") == "swh")["inputs"].to_list()))
    found = counts.lengths["prompt, characters"]["swa"]
    assert (found.median, found.longest) == (statistics.median_low(lengths), max(lengths))
    everything = sorted(map(len, pairs["targets"].to_list()))
    found = counts.lengths["response, characters"][ALL]
    assert found.ninth_decile == everything[math.ceil(0.9 * len(everything)) - 1]
    # The made-up training rows have one token per character, and four of a template.
    tokens, characters = counts.lengths["prompt, tokens"]["arb"], counts.lengths["prompt, characters"]["arb"]
    assert tokens.longest == characters.longest + 4
    assert counts.lengths["response, tokens"] == counts.lengths["response, characters"]


def test_rows_set_aside_are_counted_by_stage_rule_and_language(counts: DataCounts) -> None:
    assert {(part.rule, part.language, part.rows) for part in counts.set_aside if part.stage == "select"} == {
        ("contaminated_exact", "swa", 1), ("contaminated_ngram", "urd", 1), ("not_text", UNKNOWN, 1),
        ("empty_text", "swa", 1),
    }  # fmt: skip
    assert counts.rows_set_aside("select") == len(SET_ASIDE["select"])
    assert counts.rows_set_aside("translate", "arb") == 1
    assert counts.languages[-1] == UNKNOWN


def test_quality_is_that_of_translated_pairs_and_flags_are_counted_by_language(tmp_path: Path) -> None:
    is_translated = pl.col("origin") == "translated"
    judged = pair_rows().with_columns(
        quality=pl.when(is_translated).then(0.5).otherwise(1.0),
        flags=pl.when(is_translated).then(pl.lit(["a", "b"], dtype=pl.List(pl.String))).otherwise([]),
    )
    inputs = written(tmp_path, pair_rows())
    path = inputs["translate"].path / "pairs.parquet"
    judged.write_parquet(path)
    counts = collect_counts(inputs)
    assert counts.quality[ALL] == counts.quality["urd"] == 0.5
    assert (counts.flags[ALL, "a"], counts.flags["arb", "b"]) == (12, 4)
    assert {at.quality for at in draw_examples(path, seed=0)} <= {0.5, 1.0}


def test_examples_are_the_same_for_the_same_seed_and_two_of_each_language(tmp_path: Path) -> None:
    path = written(tmp_path, pair_rows(40))["translate"].path / "pairs.parquet"
    drawn = draw_examples(path, seed=0)
    assert sorted(at.language for at in drawn) == sorted(["arb", "eng", "swa", "urd"] * 2)
    assert drawn == draw_examples(path, seed=0)
    assert {at.pair_id for at in drawn} != {at.pair_id for at in draw_examples(path, seed=1)}


def test_arabic_script_runs_from_right_to_left_and_english_does_not(tmp_path: Path) -> None:
    page = PageReader(render_page(card(tmp_path, pair_rows())))
    directions = {str(at["lang"]): at["dir"] for tag, at in page.elements if tag == "dd" and "lang" in at}
    assert directions == {"ur-Arab": "rtl", "ar-Arab": "rtl", "sw-Latn": "ltr", "en-Latn": "ltr"}


@pytest.mark.slow
@needs_chromium
def test_browser_opens_the_card_without_an_error(tmp_path: Path) -> None:
    (tmp_path / "card.html").write_text(render_page(card(tmp_path, pair_rows())), encoding="utf-8")
    page = opened(tmp_path / "card.html", tmp_path)
    assert "CONSOLE" not in page.said
    shown = PageReader(page.document)
    assert {at["dir"] for _, at in shown.elements if at.get("lang") in ("ur-Arab", "ar-Arab")} == {"rtl"}
    assert "کون سا شہر؟" in shown.text


def test_text_in_an_unknown_language_is_left_to_the_browser(tmp_path: Path) -> None:
    page = PageReader(render_page(card(tmp_path, pair_rows().with_columns(flores_code=pl.lit("xxx_Xxxx")))))
    texts = [at for tag, at in page.elements if tag == "dd" and at.get("class") == "text"]
    assert {at["dir"] for at in texts if "lang" not in at} == {"auto"}


def test_hostile_text_stays_text_on_the_card(tmp_path: Path) -> None:
    document = card(tmp_path, pair_rows().with_columns(inputs=pl.lit(HOSTILE), language_code=pl.lit("urd")))
    page = PageReader(render_page(document))
    assert_nothing_foreign_runs(page)
    assert "<script>alert(1)</script>" in page.text
    assert "⟨U+202E⟩" in page.text
    assert "<script>" not in render_markdown(document)


def test_report_has_the_data_in_short_with_folded_examples(built: Built) -> None:
    page = PageReader(built.text("index.html"))
    table = {row[0]: row[1:] for row in page.tables["data-languages"]}
    assert table["all languages"][:7] == ["15", "20", "3", "20", "5", "3", "12"]
    assert table["swa Swahili"][:7] == ["9", "5", "1", "5", "0", "1", "4"]
    assert "2 rows were set aside as a benchmark item or a part of one" in page.text
    summaries = built.text("index.html").count("<details>")
    assert summaries >= len(LANGUAGES)
    assert "swa Swahili" in built.text("report.md")


@pytest.mark.parametrize("key", [["pair_id"], ["row_id"], ["language_code", "inputs"]])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_scores_are_those_of_sacrebleu_over_translated_prompts(tmp_path: Path, key: list[str], kind: str) -> None:
    pairs = pair_rows()
    path = written(tmp_path, pairs)["translate"].path / "pairs.parquet"
    rows = pairs.with_columns(row_id="pair_id", reference_en=pl.lit("Which of the towns is it? 3"))
    references = tmp_path / f"references.{kind}"
    frame = rows.select(*key, "reference_en")
    if kind == "parquet":
        frame.write_parquet(references)
    else:
        frame.write_ndjson(references)
    scores = score_references(path, read_references(references))
    translations = pairs.filter(pl.col("origin") == "translated", pl.col("language_code") == "urd")["inputs_en"]
    expected = [["Which of the towns is it? 3"] * len(translations)]
    score = scores.by_language["urd"]
    assert score.prompts == len(translations) == 4
    assert score.chrf == corpus_chrf(translations.to_list(), expected, word_order=2).score
    assert score.bleu == corpus_bleu(translations.to_list(), expected).score
    assert scores.unmatched == 8  # five English prompts and three whose English was given
    assert "eng" not in scores.by_language


def test_references_that_cannot_be_used_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "references.jsonl"
    path.write_text('{"pair_id": "a", "reference_en": "x"}\n{"pair_id": "a", "reference_en": "y"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="2 rows name a prompt twice"):
        read_references(path)
    path.write_text('{"pair_id": "a"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="expected the column reference_en"):
        read_references(path)
    path.write_text("not json\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1: not JSON"):
        read_references(path)
    path.write_text('{"pair_id": "a", "reference_en": "x"}\n', encoding="utf-8")
    pairs = written(tmp_path, pair_rows())["translate"].path / "pairs.parquet"
    with pytest.raises(ConfigError, match="none of 1 references belongs"):
        score_references(pairs, read_references(path))
    with pytest.raises(ConfigError, match=r"ends in .parquet or .jsonl"):
        read_references(tmp_path / "references.csv")


def test_command_reads_what_is_finished_and_computes_nothing(tmp_path: Path) -> None:
    overrides = [f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}"]
    plan, store = plan_recipe(load_recipe(SMALLEST, overrides)), ArtifactStore(tmp_path / "store")
    for step in (*plan.embedded, plan.data[0].select, plan.data[0].translate):
        run_step(of_made_pairs(step), store, plan.recipe.execution, no_progress)
    before = sorted(store.root.rglob("*"))
    options = [argument for override in overrides for argument in ("--set", override)]
    result = CliRunner().invoke(app, ["data-card", str(SMALLEST), *options])
    assert result.exit_code == 0, result.output
    page = PageReader((tmp_path / "runs" / "smallest" / "data-card.html").read_text(encoding="utf-8"))
    assert page.tables["data-languages"][1][:5] == ["all languages", "15", "20", "3", "20"]
    assert "training rows" not in page.tables["data-languages"][0]
    assert (
        (tmp_path / "runs" / "smallest" / "data-card.md").read_text(encoding="utf-8").startswith("# Data card: small")
    )
    assert sorted(store.root.rglob("*")) == before
    result = CliRunner().invoke(app, ["data-card", str(SMALLEST), *options, "--output", str(tmp_path)])
    assert isinstance(result.exception, ConfigError) and "is a folder" in str(result.exception)


def test_command_says_which_command_makes_what_is_missing(tmp_path: Path) -> None:
    command = ["data-card", str(SMALLEST), "--set", f"execution.store={tmp_path / 'store'}"]
    with pytest.raises(ConfigError, match=r"lacks select and translate. Make them with `cc-tuning translate RECIPE`"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not (tmp_path / "store").exists()
