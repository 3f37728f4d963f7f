"""The smallest recipe up to its pairs, with a base model that answers and a two-way translator; made once."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.distillation.config import DistillConfig
from cc_tuning.inference.jobs import InferenceJob, OnAnswers
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import Progress, no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build, run_step
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here
from cc_tuning.stages.distill import build_distillation, distill_with
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import ParallelPair
from data_contracts.store import ArtifactStore

SMALLEST = Path(__file__).parents[1] / "flows" / "smallest.yaml"
# At this size nearly all answers end and do not repeat, whatever the processor rounds; what they say does not matter.
OVERRIDES = [
    "runs=[ml-sft+sdrrl]", "miniature.base_model.steps=300", "miniature.base_model.hidden_size=64",
    "miniature.base_model.intermediate_size=128", "distillation.dtype=float32",
    "distillation.max_new_tokens=32", "distillation.distilled=0.25", "distillation.cross_lingual=0.2",
    "distillation.translated_answer=0.15", "distillation.code_switched=0.2", "distillation.partial_translation=0.1",
    "distillation.completion=0.06",  # most answers of the world are a word, which cannot be cut
]  # fmt: skip


class EngineHere:
    """The reference engine without its processes, which take seconds to start."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        run_here(ANSWERING, job, lambda report: on_answers(report.answered))


class Distillery:
    """Pairs and models of the smallest recipe, and the stage that is run on them."""

    def __init__(self, folder: Path) -> None:
        plan = plan_recipe(load_recipe(SMALLEST, [*OVERRIDES, f"execution.store={folder}"]))
        store = ArtifactStore(folder)
        for step in plan.up_to("translate"):
            run_step(step, store, plan.recipe.execution, no_progress)
        by_stage = {step.stage.name: step for step in plan}
        run_step(by_stage["base_model"], store, plan.recipe.execution, no_progress)
        config = by_stage["distill"].config
        assert isinstance(config, DistillConfig)
        self.config = config
        self.base, self.translator = (store.path(by_stage[name].ref) for name in ("base_model", "translator"))
        self.pairs = read_parquet(store.path(by_stage["translate"].ref) / "pairs.parquet", ParallelPair)

    def run(
        self,
        folder: Path,
        pairs: pl.DataFrame | None = None,
        progress: Progress = no_progress,
        shard_rows: int = 4,
        limit: float = 1.0,
        base: Path | None = None,
        translator: Path | None = None,
        workers: int = 0,
        **distillation: object,
    ) -> RowCounts:
        """Run the stage in `folder`, which may hold what a killed run had left there.

        With `workers` the answers come from so many processes.
        """
        folder.mkdir(exist_ok=True)
        source = folder.with_name(f"{folder.name}-pairs")
        write_parquet(self.pairs if pairs is None else pairs, source / "pairs.parquet", ParallelPair)
        values = self.config.distillation.model_dump() | distillation
        config = DistillConfig.model_validate(self.config.model_dump() | {"distillation": values})
        places = {"pairs": source, "base": base or self.base, "translator": translator or self.translator}
        inputs = {name: Location(str(path)) for name, path in places.items()}
        execution = Execution(
            device="cpu", threads=1, distillation_shard_rows=shard_rows, evaluation_batch_size=3,
            quarantine_limit=limit, inference_workers=max(workers, 1),
        )  # fmt: skip
        build = Build(config, inputs, folder, execution, progress)
        return build_distillation(build) if workers else distill_with(EngineHere(), build)


@pytest.fixture(scope="session")
def distillery(tmp_path_factory: pytest.TempPathFactory) -> Distillery:
    return Distillery(tmp_path_factory.mktemp("distillery"))


@pytest.fixture(scope="session")
def finished(distillery: Distillery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the stage, made without a disturbance."""
    folder = tmp_path_factory.mktemp("finished") / "distill"
    distillery.run(folder)
    return folder
