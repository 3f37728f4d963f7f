"""CLO under the Trainer: what learns, what is logged, and against which model it is held."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from cc_tuning.model.config import ConnectionConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.reference import build_reference
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.objectives.config import PreferenceConfig, ReferenceConfig
from cc_tuning.training.objectives.table import OBJECTIVES, ObjectiveName
from cc_tuning.training.reference_values import read_reference
from cc_tuning.training.worker import train
from data_contracts.parquet import write_parquet
from data_contracts.schemas import PreferenceRow
from tests.reference.preferences import log_probability
from tests.training.conftest import cpu_execution
from tests.training.jobs import column, difference, needs_peft, resuming, tensors
from tests.training.pair_rows import NAMES, preference_row, slow_row

ROWS = [{**preference_row(number % 5), "row_id": f"q{number}", "pair_id": f"q{number}"} for number in range(14)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    frame = pl.DataFrame(ROWS, schema=PreferenceRow.create_empty().schema)
    write_parquet(frame, folder / "preference_rows.parquet", PreferenceRow)
    return folder


@pytest.fixture(scope="module")
def reference(rows: Path, tiny_llama_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the base model says of the rows."""
    folder = tmp_path_factory.mktemp("reference")
    inputs = {"rows": Location(str(rows)), "base": Location(str(tiny_llama_directory))}
    execution = Execution(device="cpu", threads=1, evaluation_batch_size=4)
    build_reference(Build(ReferenceConfig(), inputs, folder, execution, no_progress))
    return folder


@pytest.fixture
def tokenizer(tiny_llama_directory: Path, tmp_path: Path) -> Path:
    load_tokenizer(tiny_llama_directory, "llama3").save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def make(tmp_path: Path, rows: Path, reference: Path, tokenizer: Path, tiny_llama_directory: Path):
    """`make(name, objective, connected=False, **training)`: a job over the preference rows."""

    def job(name: str, objective: ObjectiveName, connected: bool = False, **training: object) -> TrainingJob:
        values = {"epochs": 3, "learning_rate": 1e-2, "global_batch_size": 4, "dtype": "float32", "warmup_ratio": 0.0}
        values |= {"validation_fraction": 0.15, "validations": 3, **training}
        folder, entry = tmp_path / name, OBJECTIVES[objective]
        folder.mkdir()
        config = TrainConfig(
            objective=objective,
            training=TrainingConfig.model_validate(values),
            connection=ConnectionConfig() if connected else None,
            preference=PreferenceConfig() if entry.needs_reference else None,
        )
        return TrainingJob(
            config=config,
            folder=folder,
            rows=rows / "preference_rows.parquet",
            tokenizer=tokenizer,
            base=str(tiny_llama_directory),
            base_revision=None,
            inputs={"reference": reference} if entry.needs_reference else {},
            execution=cpu_execution(checkpoint_every_steps=3),
        )

    return job


def test_attention_alone_learns_and_both_margins_grow_from_zero(make) -> None:
    job = make("run", "clo")
    train(job)
    for name in ("margin", "english_margin"):
        found = column(job, name)
        assert found[0] == pytest.approx(0, abs=1e-4), "the model is its own reference before the first step"
        assert found[-1] > 0.1
    assert column(job, "loss")[-1] < column(job, "loss")[0]
    before, after = load_file(Path(job.base) / "model.safetensors"), tensors(job)
    assert {name for name in before if not (before[name] == after[name]).all()} == {
        name for name in before if ".self_attn." in name
    }


def test_clo_goes_on_to_the_same_bits(make) -> None:
    whole = make("whole", "clo")
    train(whole)
    resumed = resuming(make("resumed", "clo"), whole, 6)
    train(resumed)
    assert difference(tensors(resumed), tensors(whole)) == 0.0


@needs_peft
def test_with_adapters_the_base_model_is_the_reference(make) -> None:
    job = make("run", "clo-all", lora={"rank": 4})
    train(job)
    assert column(job, "margin")[0] == pytest.approx(0, abs=1e-5)
    assert column(job, "margin")[-1] > 0.1


@needs_peft
def test_the_model_without_its_adapters_gives_the_reference_of_a_separate_copy(make, reference: Path) -> None:
    """The adapters of a trained run, taken off again: what is left says what the stage `reference` had asked."""
    from peft import PeftModel

    job = make("run", "clo-all", lora={"rank": 4})
    train(job)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(job.base), job.folder / "adapter").eval()
    values, moved = read_reference(reference), 0.0
    for row in ROWS:
        for place, name in enumerate(NAMES):
            separate = values[row["row_id"]][place]
            with torch.no_grad():
                moved = max(moved, abs(float(log_probability(adapted, slow_row(row)[name])) - separate))
                with adapted.disable_adapter():
                    own = float(log_probability(adapted, slow_row(row)[name]))
            assert own == pytest.approx(separate, rel=1e-6)
    assert moved > 0.1, "the adapters do change the model"


def test_the_rate_falls_to_its_minimum_along_a_cosine(make) -> None:
    job = make("run", "sft-tgt", learning_rate=5e-5, minimum_learning_rate=1.1e-6, validation_fraction=0.0, epochs=5)
    train(job)
    rates = column(job, "learning_rate")
    steps = len(rates)
    expected = [1.1e-6 + (5e-5 - 1.1e-6) * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-6) and steps > 10


def test_a_minimum_is_of_a_cosine_and_below_the_peak() -> None:
    with pytest.raises(ValidationError, match="knows no minimum"):
        TrainingConfig(scheduler="linear", minimum_learning_rate=1e-6)
    with pytest.raises(ValidationError, match="above learning_rate"):
        TrainingConfig(learning_rate=1e-5, minimum_learning_rate=1e-4)


def test_clo_trains_with_the_connection_in_all_four_sequences(make) -> None:
    job = make("run", "clo", connected=True)
    train(job)
    assert [sum(counts) for counts in column(job, "selection_counts")] == [16.0] * 9  # four sequences of four rows
    assert column(job, "margin")[-1] > column(job, "margin")[0]
    assert "decision_maker.weight" in tensors(job)


@pytest.mark.parametrize("objective", ["sft-eng", "sft-tgt", "sft-both", "dpo", "clo-all"])
def test_every_comparison_learns_on_the_same_rows(objective: ObjectiveName, make) -> None:
    job = make("run", objective)
    train(job)
    assert column(job, "loss")[-1] < column(job, "loss")[0]
