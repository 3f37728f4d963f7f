"""`cc-tuning export-dataset`: what others load is the pairs of the recipe, all of them and nothing else."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.export_dataset import DatasetExport, export_dataset
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import run_step
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from flows.cli import app
from tests.report.data_artifacts import data_files, pair_rows
from tests.report.report_artifacts import finish, of_made_pairs

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests" / "flows" / "smallest.yaml"
LOAD = """
import json, sys
from datasets import load_dataset
found = {}
for name in ("pairs", "messages"):
    rows = load_dataset(sys.argv[1], name, split="train", cache_dir=sys.argv[2])
    found[name] = {"rows": list(rows), "columns": rows.column_names}
found["default"] = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2]).column_names
print(json.dumps(found))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan whose `select` and `translate` are finished, with made-up pairs in four languages."""
    planned = plan_recipe(load_recipe(SMALLEST, [f"execution.store={tmp_path / 'store'}", "data.min_quality=0.25"]))
    store = ArtifactStore(planned.recipe.execution.store)
    for step in planned.data[0].steps:
        finish(store, step.ref, step.label, data_files(step.stage.name, pair_rows()), RowCounts(read=20, kept=20))
    return planned


def export(plan: Plan, folder: Path, licence: str = "", shard_rows: int = 100) -> Path:
    store = ArtifactStore(plan.recipe.execution.store)
    assert export_dataset(DatasetExport.of(plan, folder, None, licence, shard_rows), store) == 20
    return folder


def shards(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.glob("*.parquet"))]


def front_matter(folder: Path) -> dict[str, object]:
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    read: dict[str, object] = yaml.safe_load(front)
    return read


def test_the_pairs_are_those_of_the_artifact(plan: Plan, tmp_path: Path) -> None:
    folder = export(plan, tmp_path / "out", shard_rows=7)
    assert shards(folder / "data") == [f"train-0000{shard}-of-00003.parquet" for shard in range(3)]
    assert pl.read_parquet(folder / "data" / "*.parquet").equals(pair_rows())


def test_a_conversation_is_the_pair_in_its_language_or_in_english(plan: Plan, tmp_path: Path) -> None:
    folder = export(plan, tmp_path / "out", shard_rows=20)
    assert shards(folder / "messages") == ["train-00000-of-00001.parquet"]
    chats = {row["pair_id"]: row for row in pl.read_parquet(folder / "messages").iter_rows(named=True)}
    assert len(chats) == 20
    for pair in pair_rows().iter_rows(named=True):
        chat = chats[pair["pair_id"]]
        for column, suffix in (("messages", ""), ("english_messages", "_en")):
            assert chat[column] == [
                {"role": "user", "content": pair[f"inputs{suffix}"]},
                {"role": "assistant", "content": pair[f"targets{suffix}"]},
            ]
        assert (chat["origin"], chat["quality"], chat["flags"]) == (pair["origin"], pair["quality"], pair["flags"])


def test_datasets_loads_the_folder_without_a_network(plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs the package datasets (extra lmeval)")
    folder = export(plan, tmp_path / "out", shard_rows=7)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    # In a process of its own: `datasets` reads its settings when it is imported.
    command = [sys.executable, "-c", LOAD, str(folder), str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["pairs"]["rows"] == pair_rows().to_dicts()
    assert found["default"] == found["pairs"]["columns"] == pair_rows().columns
    read_by_polars = pl.read_parquet(folder / "messages" / "*.parquet")
    assert found["messages"]["rows"] == read_by_polars.to_dicts()


def test_the_card_says_what_is_there(plan: Plan, tmp_path: Path) -> None:
    folder = export(plan, tmp_path / "out")
    front = front_matter(folder)
    assert front["language"] == ["ar", "en", "sw", "ur"]
    assert front["license"] == ["apache-2.0"]
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [
        {"config_name": "pairs", "data_files": [{"split": "train", "path": "data/train-*.parquet"}], "default": True},
        {"config_name": "messages", "data_files": [{"split": "train", "path": "messages/train-*.parquet"}]},
    ]
    assert isinstance(information := front["dataset_info"], list)
    assert [part["splits"][0]["num_examples"] for part in information] == [20, 20]
    text = (folder / "README.md").read_text(encoding="utf-8")
    data = plan.data[0]
    for said in ("smallest", data.select.fingerprint, data.translate.fingerprint, "| numbers | 3 |", "at least 0.25"):
        assert said in text
    assert str(tmp_path) not in text


def test_a_licence_that_is_not_known_is_not_made_up(plan: Plan, tmp_path: Path) -> None:
    own = tmp_path / "rows.jsonl"
    run = plan.runs[0]
    recipe = run.recipe
    sources = {"data": recipe.data.model_copy(update={"source": str(own)})}
    sources["translation"] = recipe.translation.model_copy(
        update={"model": "facebook/nllb-200-3.3B", "revision": "0" * 40}
    )
    changed = replace(run, recipe=recipe.model_copy(update=sources))
    other = replace(plan, runs=(changed,))
    assert front_matter(export(other, tmp_path / "unknown"))["license"] == ["cc-by-nc-4.0", "unknown"]
    folder = export(other, tmp_path / "said", licence="cc-by-4.0")
    assert front_matter(folder)["license"] == ["cc-by-4.0", "cc-by-nc-4.0"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "rows.jsonl: cc-by-4.0" in text
    assert str(tmp_path) not in text


def test_equal_pairs_give_equal_bytes_and_an_export_may_be_made_again(plan: Plan, tmp_path: Path) -> None:
    first = export(plan, tmp_path / "out")
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    export(plan, tmp_path / "out")
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize("change", ["a file beside", "an edited card", "a folder of others"])
def test_what_no_export_wrote_is_not_removed(plan: Plan, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "out"
    if change == "a folder of others":
        folder.mkdir()
    else:
        export(plan, folder)
    kept = folder / ("README.md" if change == "an edited card" else "notes.txt")
    kept.write_text("mine")
    with pytest.raises(ConfigError, match=rf"holds 1 files .* first \['{kept.name}'\]; they would be lost"):
        export(plan, folder)
    assert kept.read_text() == "mine"


def test_the_command_refuses_before_it_runs_anything(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    store = tmp_path / "store"
    arguments = ["export-dataset", str(SMALLEST), str(tmp_path / "out"), "--set", f"execution.store={store}"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert not store.exists()
    below_a_file = [*arguments[:2], str(tmp_path / "out" / "mine" / "below"), *arguments[3:]]
    assert "mine is no folder of yours" in str(CliRunner().invoke(app, below_a_file).exception)
    assert not store.exists()
    untrained = [*arguments[:2], str(tmp_path / "other"), *arguments[3:], "--set", "runs=[base]"]
    assert "trained on pairs" in str(CliRunner().invoke(app, untrained).exception)


def test_the_command_exports_finished_pairs(plan: Plan, tmp_path: Path) -> None:
    arguments = ["export-dataset", str(SMALLEST), str(tmp_path / "out"), "--run", "cc-tuning"]
    arguments += ["--set", f"execution.store={plan.recipe.execution.store}", "--set", "data.min_quality=0.25"]
    assert [step.stage.name for step in DatasetExport.of(plan, tmp_path / "out", "cc-tuning", "", 9).needed][-2:] == [
        "select", "translate",
    ]  # fmt: skip
    store = ArtifactStore(plan.recipe.execution.store)
    for step in (*plan.embedded, *plan.data[0].steps):
        run_step(of_made_pairs(step), store, plan.recipe.execution, no_progress)
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, result.exception
    assert "20 pairs" in result.output
    assert (tmp_path / "out" / "README.md").is_file()
