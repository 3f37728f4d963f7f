"""Twenty-four training rows, a model of 48,000 weights, and jobs over them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cc_tuning.model.config import ConnectionConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.materialize import build_training_rows
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.rows.config import MaterializationConfig
from data_contracts.layout import TOKENIZER, TRAINING_ROWS
from data_contracts.parquet import write_parquet
from data_contracts.schemas import ParallelPair

ROWS = 24
KINDS = {
    "sft": ("sft", False),
    "cc": ("sft", True),
    "sft-attention": ("sft-attention", False),
    "cc-attention": ("sft-attention", True),
    "cc-distil": ("cc-distil", True),
}
"""Objective, and whether the model has a connection."""


@pytest.fixture(scope="session")
def materialized(tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path) -> Path:
    """A `materialize` artifact; answers have different lengths, so a mean over rows is not a mean over tokens."""
    folder = tmp_path_factory.mktemp("materialized")
    pairs = [
        (
            f"p{i}",
            "Swahili",
            "swh",
            "swh_Latn",
            f"Swali {i}?",
            "Jibu. " * (1 + i % 5),
            f"Question {i}?",
            "Yes.",
            "given",
            1.0,
            [],
        )
        for i in range(ROWS)
    ]
    frame = pl.DataFrame(pairs, schema=ParallelPair.column_names(), orient="row")
    write_parquet(frame, folder / "translate" / "pairs.parquet", ParallelPair)
    inputs = {"pairs": Location(str(folder / "translate")), "tokenizer": Location(str(tiny_llama_directory))}
    rows = folder / "materialize"
    rows.mkdir()
    config = MaterializationConfig(chat_template="llama3")
    build_training_rows(Build(config, inputs, rows, Execution(), no_progress))
    return rows


def train_config(kind: str, **training: object) -> TrainConfig:
    """A config that ends quickly: float32, a high learning rate, four rows per step."""
    values = {"epochs": 2, "learning_rate": 1e-3, "global_batch_size": 4, "dtype": "float32", **training}
    objective, is_connected = KINDS[kind]
    connection = ConnectionConfig() if is_connected else None
    return TrainConfig(objective=objective, training=TrainingConfig.model_validate(values), connection=connection)


def cpu_execution(**changes: object) -> Execution:
    """One thread on the CPU, a line and a checkpoint often."""
    values = {"device": "cpu", "threads": 1, "device_batch_size": 4, "log_every_steps": 1, "checkpoint_every_steps": 4}
    return Execution.model_validate({**values, **changes})


@pytest.fixture
def make_job(tmp_path: Path, materialized: Path, tiny_llama_directory: Path) -> Callable[..., TrainingJob]:
    """`make_job(name, kind="sft", execution={...}, **training)`: a job with a folder of its own."""

    def make(
        name: str, kind: str = "sft", execution: dict[str, object] | None = None, **training: object
    ) -> TrainingJob:
        folder = tmp_path / name
        folder.mkdir()
        return TrainingJob(
            config=train_config(kind, **training),
            folder=folder,
            rows=materialized / TRAINING_ROWS,
            tokenizer=materialized / TOKENIZER,
            base=str(tiny_llama_directory),
            base_revision=None,
            execution=cpu_execution(**(execution or {})),
        )

    return make


@pytest.fixture
def make_build(tmp_path: Path, materialized: Path, tiny_llama_directory: Path) -> Callable[..., Build[TrainConfig]]:
    """`make_build(name, kind="sft", execution={...}, progress=..., **training)`: what the stage is given."""

    def make(
        name: str,
        kind: str = "sft",
        execution: dict[str, object] | None = None,
        progress: Callable[[int, int, str], None] = no_progress,
        **training: object,
    ) -> Build[TrainConfig]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        inputs = {"training_rows": Location(str(materialized)), "base": Location(str(tiny_llama_directory))}
        config = train_config(kind, **training)
        return Build(config, inputs, folder, cpu_execution(**(execution or {})), progress)

    return make
