"""The stage `reference`: its values are those of the model itself, whatever is killed and whoever computes them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from cc_tuning.errors import ConfigError, EvaluationFailed
from cc_tuning.inference.jobs import InferenceJob, OnAnswers
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import Progress, no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here
from cc_tuning.stages.reference import build_reference, reference_with
from cc_tuning.stages.train import build_training
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.objectives.config import PreferenceConfig, ReferenceConfig
from cc_tuning.training.reference_values import check_reference, read_reference
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.schemas import PreferenceRow
from tests.dying_workers import WatchedShards
from tests.dying_workers import finished as finished_shards
from tests.reference.preferences import log_probability
from tests.training.conftest import cpu_execution
from tests.training.pair_rows import NAMES, preference_row, slow_row

ROWS = [{**preference_row(number % 5), "row_id": f"q{number}", "pair_id": f"q{number}"} for number in range(14)]
Run = Callable[..., RowCounts]


class EngineHere:
    """The reference engine without its processes, which take seconds to start."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        run_here(ANSWERING, job, lambda report: on_answers(report.answered))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    frame = pl.DataFrame(ROWS, schema=PreferenceRow.create_empty().schema)
    write_parquet(frame, folder / "preference_rows.parquet", PreferenceRow)
    return folder


@pytest.fixture
def run(rows: Path, tiny_llama_directory: Path) -> Run:
    """`run(folder, progress=..., workers=0)`; with `workers` the values come from so many processes."""

    def make(folder: Path, progress: Progress = no_progress, workers: int = 0, **changes: object) -> RowCounts:
        folder.mkdir(exist_ok=True)
        values = {"reference_shard_rows": 2, "evaluation_batch_size": 3, "inference_workers": max(workers, 1)}
        execution = Execution.model_validate({"device": "cpu", "threads": 1, **values, **changes})
        inputs = {"rows": Location(str(rows)), "base": Location(str(tiny_llama_directory))}
        build = Build(ReferenceConfig(), inputs, folder, execution, progress)
        return build_reference(build) if workers else reference_with(EngineHere(), build)

    return make


@pytest.fixture
def finished(run: Run, tmp_path: Path) -> Path:
    """The values, made without a disturbance."""
    assert run(tmp_path / "finished") == RowCounts(read=len(ROWS), kept=len(ROWS))
    return tmp_path / "finished"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("reference.parquet", "summary.json")}


def test_values_are_the_log_probabilities_of_the_model(finished: Path, tiny_llama_directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_directory).eval()
    values = read_reference(finished)
    assert list(values) == [row["row_id"] for row in ROWS]
    for row in ROWS:
        sequences = slow_row(row)
        with torch.no_grad():
            expected = [float(log_probability(model, sequences[name])) for name in NAMES]
        assert values[row["row_id"]] == pytest.approx(expected, rel=1e-5)
    assert not (finished / "wanted").exists()


def test_a_run_that_is_stopped_at_ten_moments_ends_with_the_same_bytes(
    finished: Path, run: Run, tmp_path: Path
) -> None:
    class Stopped(Exception):
        """A kill, at a moment that a test can choose."""

    for moment in range(10):
        folder, calls = tmp_path / f"stopped-{moment}", []

        def stop(done: int, total: int, unit: str, calls: list[int] = calls, moment: int = moment) -> None:
            calls.append(done)
            if len(calls) > moment:
                raise Stopped

        with pytest.raises(Stopped):
            run(folder, progress=stop)
        shards = sorted((folder / "shards").rglob("*.parquet"))
        marked = {path: path.stat().st_mtime_ns for path in shards if path.with_name(f"{path.name}.done.json").exists()}
        run(folder)
        assert contents(folder) == contents(finished)
        assert all(path.stat().st_mtime_ns == at for path, at in marked.items()), "a finished shard is not made again"


def test_the_number_of_workers_changes_no_byte(finished: Path, run: Run, tmp_path: Path) -> None:
    for workers in (1, 2):
        run(tmp_path / str(workers), workers=workers)
        assert contents(tmp_path / str(workers)) == contents(finished)


def test_a_worker_that_is_killed_costs_the_shard_it_was_in(
    finished: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched, folder = WatchedShards(tmp_path / "fates", monkeypatch, caplog), tmp_path / "killed"
    with pytest.raises(EvaluationFailed, match="killed by signal SIGKILL"):
        run(folder, workers=2)
    before = finished_shards(folder / "shards")
    (lost,) = watched.begun - Counter(before.keys())
    run(folder, workers=2)
    assert {name for name, times in watched.made.items() if times != 1} == {lost}
    assert contents(folder) == contents(finished)


def test_other_shards_give_the_same_values_up_to_rounding(finished: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    run(folder)
    run(folder, reference_shard_rows=5)
    assert len(list((folder / "shards").rglob("*.parquet"))) == 3, "shards of the first cut are gone"
    before, after = read_reference(finished), read_reference(folder)
    assert all(after[row_id] == pytest.approx(before[row_id], rel=1e-5) for row_id in before)


def training_build(folder: Path, rows: Path, base: Path, reference: Path, **changes: object) -> Build[TrainConfig]:
    """What the stage `train` is given."""
    folder.mkdir()
    values = {"epochs": 1, "learning_rate": 1e-2, "global_batch_size": 4, "dtype": "float32", "warmup_ratio": 0.0}
    training = TrainingConfig.model_validate({**values, "validation_fraction": 0.15, "validations": 1, **changes})
    objective = "clo-all" if training.lora.rank else "clo"
    config = TrainConfig(objective=objective, training=training, preference=PreferenceConfig())
    places = {"training_rows": rows, "base": base, "reference": reference}
    inputs = {name: Location(str(path)) for name, path in places.items()}
    return Build(config, inputs, folder, cpu_execution(), no_progress)


def test_values_of_another_model_or_of_other_rows_are_refused(
    finished: Path, rows: Path, tiny_llama_directory: Path, tmp_path: Path
) -> None:
    check_reference(finished, rows / "preference_rows.parquet", Location(str(tiny_llama_directory)))
    torch.manual_seed(9)
    model = LlamaForCausalLM.from_pretrained(tiny_llama_directory)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(tmp_path / "other-model")
    with pytest.raises(ConfigError, match=r"are not of the model .*other-model.*run the stage `reference`"):
        build_training(training_build(tmp_path / "a", rows, tmp_path / "other-model", finished))
    other = tmp_path / "other-rows"
    frame = pl.DataFrame(ROWS[:-1], schema=PreferenceRow.create_empty().schema)
    write_parquet(frame, other / "preference_rows.parquet", PreferenceRow)
    with pytest.raises(ConfigError, match=r"are not of the rows of .*other-rows"):
        build_training(training_build(tmp_path / "b", other, tiny_llama_directory, finished))


def test_a_hub_model_is_known_by_its_revision(finished: Path, rows: Path) -> None:
    file = rows / "preference_rows.parquet"
    write_json(finished / "summary.json", {**read_json(finished / "summary.json"), "model": "owner/name@abc"})
    check_reference(finished, file, Location("owner/name", "abc"))
    with pytest.raises(ConfigError, match="they are of owner/name@abc, expected owner/name@main"):
        check_reference(finished, file, Location("owner/name", "main"))
    write_json(finished / "summary.json", {})
    with pytest.raises(ArtifactMismatch, match="lacks 'rows_sha256'"):
        check_reference(finished, file, Location("owner/name", "abc"))
