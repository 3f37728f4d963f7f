"""The stage `items`: in the plan, in the store, and in what reads it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.records import read_source_records
from cc_tuning.pipeline.estimates import estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.report.evidence import collect_evidence
from cc_tuning.runtime.progress import logged_progress
from cc_tuning.runtime.sources import resolve
from cc_tuning.runtime.step import run_step
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import read_json
from data_contracts.layout import ITEM_SOURCES
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import AyaRow, BenchmarkItem
from data_contracts.store import ArtifactStore
from flows.cli import app
from tests.evaluation.published_files import small_source, write_published

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests" / "flows" / "smallest.yaml"
LANGUAGES = ("en", "ru", "sw", "th")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files of XNLI and MGSM, which the table of sources then declares to be as small."""
    folder = tmp_path / "hub"
    for language in LANGUAGES:
        inference = [
            {"premise": f"{language} {n // 3} is so", "hypothesis": f"{language} {n} too", "label": n % 3}
            for n in range(30)
        ]
        problems = [{"question": f"{language} {n} + {n}?", "answer_number": 2 * n} for n in range(1, 13)]
        write_published(folder, "XNLI", {language: inference})
        write_published(folder, "MGSM", {language: problems})
    monkeypatch.setitem(SOURCES, "XNLI", small_source("XNLI", 30))
    monkeypatch.setitem(SOURCES, "MGSM", small_source("MGSM", 12))
    return folder


def planned(hub: Path, *overrides: str) -> Plan:
    asked = ["evaluation.items=hub", "evaluation.benchmarks=[XNLI, MGSM]", f"evaluation.languages={list(LANGUAGES)}"]
    places = [f"execution.hub_files={hub}", f"execution.store={hub.parent / 'store'}"]
    return plan_recipe(load_recipe(SMALLEST, [*asked, *places, *overrides]), sources_may_be_missing=True)


def make(plan: Plan, stage: str = "items", run: str | None = None) -> Path:
    """Run a stage and what it needs; the folder of its artifact."""
    store = ArtifactStore(plan.recipe.execution.store)
    for step in plan.up_to(stage, run):
        outcome = run_step(step, store, plan.recipe.execution, logged_progress(step.label))
    return store.path(outcome.ref)


def ids(folder: Path, benchmark: str) -> dict[str, list[str]]:
    """Ids by language."""
    frame = read_parquet(folder / f"{benchmark}.parquet", BenchmarkItem)
    groups = frame.group_by("language").agg(pl.col("item_id").sort()).sort("language")
    return dict(groups.iter_rows())


def test_the_stage_writes_a_file_per_benchmark_and_what_it_was_made_of(hub: Path) -> None:
    folder = make(planned(hub))
    assert sorted(path.name for path in folder.iterdir()) == [
        "MGSM.parquet", "XNLI.parquet", "manifest.json", QUARANTINE, ITEM_SOURCES,
    ]  # fmt: skip
    assert {code: len(of) for code, of in ids(folder, "XNLI").items()} == dict.fromkeys(LANGUAGES, 30)
    sources = read_json(folder / ITEM_SOURCES)
    assert (sources["XNLI"]["licence"], sources["XNLI"]["is_non_commercial"]) == ("CC BY-NC 4.0", True)
    swahili = sources["XNLI"]["languages"]["sw"]
    file = hub / "facebook" / "xnli" / "sw" / "test-00000-of-00001.parquet"
    assert swahili["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (swahili["rows"], swahili["items"]) == (30, 30)
    assert read_json(folder / "manifest.json")["rows"] == {
        "read": 4 * 42, "kept": 4 * 42, "quarantined": {}, "not_selected": 0,
    }  # fmt: skip


def test_what_the_stage_wrote_is_what_evaluation_loads(hub: Path) -> None:
    folder = make(planned(hub))
    loaded = load_items(folder)
    assert (loaded.read, loaded.items.height, loaded.quarantined.height) == (4 * 42, 4 * 42, 0)
    chosen = select_items(loaded.items, ("XNLI",), ("sw", "th"), 7)
    assert chosen.height == 14 and chosen["item_id"].n_unique() == 7


def test_a_seeded_sample_is_the_lowest_hashes_in_every_language(hub: Path) -> None:
    found = ids(make(planned(hub, "evaluation.items_per_language=8", "evaluation.sample_seed=3")), "XNLI")

    def place(name: str) -> str:
        return hashlib.sha256(f"3\nXNLI\n{name}".encode()).hexdigest()

    expected = sorted(sorted((f"xnli-test-{n:04d}" for n in range(30)), key=place)[:8])
    assert found == dict.fromkeys(LANGUAGES, expected)
    assert expected != [f"xnli-test-{n:04d}" for n in range(8)]


def test_the_sample_does_not_depend_on_the_languages_asked_for(hub: Path) -> None:
    few = ["evaluation.items_per_language=8"]
    both = ids(make(planned(hub, *few)), "XNLI")
    alone = ids(make(planned(hub, *few, "evaluation.languages=[sw]")), "XNLI")
    assert alone == {"sw": both["sw"]}


@pytest.mark.parametrize(("rule", "expected"), [("first", 8), ("whole", 30)])
def test_the_other_rules_take_the_first_items_or_all(hub: Path, rule: str, expected: int) -> None:
    found = ids(make(planned(hub, "evaluation.items_per_language=8", f"evaluation.sample={rule}")), "XNLI")
    assert found == {code: [f"xnli-test-{n:04d}" for n in range(expected)] for code in LANGUAGES}


def test_an_item_that_one_language_lacks_is_missing_there_alone(hub: Path) -> None:
    broken = [{"question": f"sw {n} + {n}?" if n != 5 else " ", "answer_number": 2 * n} for n in range(1, 13)]
    write_published(hub, "MGSM", {"sw": broken})
    folder = make(planned(hub))
    found = ids(folder, "MGSM")
    assert [len(found[code]) for code in LANGUAGES] == [12, 12, 11, 12]
    assert set(found["en"]) - set(found["sw"]) == {"mgsm-test-004"}
    assert pl.read_parquet(folder / QUARANTINE)["rule"].to_list() == ["blank_text"]


def test_more_faults_than_the_limit_stop(hub: Path) -> None:
    write_published(hub, "MGSM", {"sw": [{"question": " ", "answer_number": n} for n in range(12)]})
    with pytest.raises(ContractViolation, match=r"items: 12 of 168 rows .*blank_text"):
        make(planned(hub, "execution.quarantine_limit=0.05"))


def test_a_file_with_another_checksum_than_the_published_one_stops_before_it_is_read(hub: Path) -> None:
    write_published(
        hub, "MMMLU", {"en": [{"question": "q", "subject": "virology", "choices": list("abcd"), "answer": 1}]}
    )
    known = SOURCES["MMMLU"].files["en"].sha256
    with pytest.raises(ArtifactMismatch, match=rf"cais/mmlu/all/.*its sha256 is [0-9a-f]{{64}}, expected {known}"):
        make(planned(hub, "evaluation.benchmarks=[MMMLU]", "evaluation.languages=[en]"))


def test_the_items_come_first_and_everything_that_reads_them_has_them_as_input(hub: Path) -> None:
    plan = planned(hub)
    labels = [step.label for step in plan]
    assert labels[0] == "items"
    (items,) = plan.items
    readers = {step.label for step in plan if items.ref in step.inputs.values()}
    assert readers == {"base_model", "select", "evaluate ml-sft", "evaluate cc-tuning", "report"}
    assert all(run.steps[0] == items for run in plan.runs)
    assert not plan_recipe(load_recipe(SMALLEST)).items


@pytest.mark.parametrize(
    ("override", "moves"),
    [
        ("evaluation.sample_seed=1", True),
        ("evaluation.sample=first", True),
        ("evaluation.items_per_language=9", True),
        ("evaluation.languages=[en, sw]", True),
        ("evaluation.languages=[th, sw, ru, en]", False),
        ("evaluation.max_new_tokens=9", False),
        ("execution.hub_files=/elsewhere", False),
    ],
)
def test_what_decides_the_items_moves_their_fingerprint_and_nothing_else(hub: Path, override: str, moves: bool) -> None:
    before, after = planned(hub).items[0].fingerprint, planned(hub, override).items[0].fingerprint
    assert (before != after) is moves


def test_another_commit_moves_the_fingerprint(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(hub).items[0].fingerprint
    source = SOURCES["MGSM"]
    moved = {code: replace(file, revision="f" * 40) for code, file in source.files.items()}
    monkeypatch.setitem(SOURCES, "MGSM", replace(source, files=moved))
    assert planned(hub).items[0].fingerprint != before


def test_a_run_with_items_of_its_own_has_a_step_of_its_own(hub: Path) -> None:
    own = "runs=[ml-sft, {name: few, like: ml-sft, set: {evaluation.items_per_language: 4}}]"
    plan = planned(hub, own)
    assert len(plan.items) == 2
    assert [run.items for run in plan.runs] == list(plan.items)
    assert plan.report.inputs["items"] == plan.items[0].ref
    assert {step.ref for step in plan.up_to("evaluate", "few")} >= {plan.items[1].ref}


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        (["en", "yo"], "`evaluation.languages` has yo, which none of XNLI, MGSM has"),
        (["en", "bg"], "XNLI has items in bg, but there are no prompts in that language"),
        (["bn", "ja"], "XNLI has none of the languages bn, ja; XNLI has ar bg de"),
    ],
    ids=["nowhere", "no words", "one benchmark"],
)
def test_a_language_that_cannot_be_had_is_refused_when_it_is_planned(
    hub: Path, languages: Sequence[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(hub, f"evaluation.languages={languages}")


def test_without_languages_the_papers_are_taken_and_all_with_words_where_it_has_none() -> None:
    overrides = ("evaluation.items=hub", "evaluation.languages=[]", "evaluation.benchmarks=[XNLI, MGSM]")
    config = plan_recipe(load_recipe(SMALLEST, overrides)).items[0].config.model_dump()
    assert config["languages"] == {
        "XNLI": ("ar", "el", "en", "hi", "ru", "sw", "th", "tr", "ur", "zh"),
        "MGSM": ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"),
    }


@pytest.mark.parametrize("name", ["llama31_8b", "qwen25_7b"])
def test_the_papers_recipes_make_the_papers_number_of_items(name: str) -> None:
    plan = plan_recipe(load_recipe(ROOT / "recipes" / f"{name}.yaml"))
    # Appendix A.2.1: (1,000 + 1,511 + 1,000 + 1,000 + 1,190 + 100) items in ten languages each.
    assert estimate_steps(plan)[plan.items[0].fingerprint].rows == 58_010


def test_rows_that_repeat_an_item_are_found_by_selection(hub: Path, tmp_path: Path) -> None:
    folder = make(planned(hub))
    prompt = read_parquet(folder / "MGSM.parquet", BenchmarkItem).filter(pl.col("language") == "sw")["prompt"][0]
    rows = [{"inputs": text, "targets": "a", "language_code": "swh"} for text in ("Habari ya leo?", prompt)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = planned(hub, f"data.source={tmp_path / 'rows.jsonl'}")
    selected = read_parquet(make(plan, "select") / "rows.parquet", AyaRow)
    assert selected["inputs"].to_list() == ["Habari ya leo?"]


def test_the_command_prints_items_as_prompts_with_gold_and_licence(hub: Path) -> None:
    asked = ["evaluation.items=hub", "evaluation.benchmarks=[XNLI]", "evaluation.languages=[sw]"]
    places = [f"execution.hub_files={hub}", f"execution.store={hub.parent / 'store'}"]
    options = [part for override in (*asked, *places) for part in ("--set", override)]
    result = CliRunner().invoke(app, ["items", str(SMALLEST), *options, "--show", "3"])
    assert result.exit_code == 0, result.output
    frame = read_parquet(make(planned(hub, *asked)) / "XNLI.parquet", BenchmarkItem)
    shown = [row for row in frame.to_dicts() if row["prompt"] in result.output]
    assert [row["item_id"] for row in shown] == ["xnli-test-0000", "xnli-test-0001", "xnli-test-0002"]
    assert all(row["prompt_en"] in result.output for row in shown)
    assert 'gold] ["1"]' in result.output
    assert "CC BY-NC 4.0 (non-commercial)" in result.output


def test_the_command_shows_items_that_are_the_users_own(tmp_path: Path) -> None:
    row = {"benchmark": "MKQA", "language": "en", "item_id": "1", "prompt": "Who [b]wrote[/b] it?", "prompt_en": None}
    pl.DataFrame([{**row, "answers": ["me"], "choices_kind": "answer_aliases"}]).write_parquet(tmp_path / "a.parquet")
    options = ["--set", f"evaluation.items={tmp_path}", "--set", "evaluation.benchmarks=[MKQA]"]
    options += ["--set", "evaluation.languages=[en]"]
    result = CliRunner().invoke(app, ["items", str(SMALLEST), *options, "--show", "1"])
    assert result.exit_code == 0, result.output
    assert "Who [b]wrote[/b] it?" in result.output and '["me"]' in result.output


def test_items_of_the_hub_are_evaluated_and_the_report_names_their_source_licence_and_faults(hub: Path) -> None:
    broken = [{"question": f"sw {n} + {n}?" if n != 5 else " ", "answer_number": 2 * n} for n in range(1, 13)]
    write_published(hub, "MGSM", {"sw": broken})
    plan = planned(hub, "runs=[base]", "evaluation.items_per_language=2", "evaluation.languages=[en, sw]")
    report = (make(plan, "report") / "report.md").read_text(encoding="utf-8").replace("\\", "")  # of its escapes
    assert "XNLI is for non-commercial use only." in report
    assert "CC BY-NC 4.0 (non-commercial)" in report and SOURCES["XNLI"].citation in report
    assert "facebook/xnli b8dd5d7af51114dbda02c0e3f6133f332186418e" in report
    (fault,) = [line for line in report.splitlines() if "blank_text" in line and "set aside" in line and "MGSM" in line]
    assert [cell.strip() for cell in fault.strip("|").split("|")] == ["MGSM", "set aside", "blank_text", "1", "sw"]
    store = ArtifactStore(plan.recipe.execution.store)
    inputs: dict[str, Any] = {name: resolve(source, store)[0] for name, source in plan.report.inputs.items()}
    evidence = collect_evidence(plan.report.config, inputs)  # type: ignore[arg-type]
    assert "items" in [record.manifest.stage for record in evidence.stages]
    assert evidence.items is not None and evidence.items.height == 8
    scores = pl.read_parquet(store.path(plan.runs[0].evaluate.ref) / "item_scores.parquet")
    assert set(scores["benchmark"].cast(pl.String)) == {"XNLI", "MGSM"}
    assert scores.filter(pl.col("benchmark") == "XNLI")["cluster"].null_count() == 0


def test_a_record_of_sources_that_is_none_is_named(tmp_path: Path) -> None:
    assert read_source_records(tmp_path) == {}
    (tmp_path / ITEM_SOURCES).write_text('{"XNLI": {"licence": "mine"}}')
    with pytest.raises(ArtifactMismatch, match=r"sources.json is not a record of sources"):
        read_source_records(tmp_path)
