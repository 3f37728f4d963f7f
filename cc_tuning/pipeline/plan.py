"""A recipe as steps: every fingerprint known, nothing run yet.

The flow runs these steps, `cc-tuning plan` and `status` look them up, and the per-stage commands run a part of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_tuning.distillation.config import DistillConfig
from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import EvaluationConfig, RunEvaluation
from cc_tuning.miniature.config import TranslatorConfig
from cc_tuning.pipeline.recipe import MINIATURE, Recipe, added_data, identity_of, is_hub_id
from cc_tuning.report.config import ReportConfig
from cc_tuning.runtime.sources import HubSource, LocalSource, Source
from cc_tuning.runtime.stage_table import (
    BASE_MODEL,
    DISTILL,
    EVALUATE,
    MATERIALIZE,
    REPORT,
    SELECT,
    TRAIN,
    TRANSFORM,
    TRANSLATE,
    TRANSLATOR,
    WORLD,
)
from cc_tuning.runtime.step import Step
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.transform.config import TransformConfig
from cc_tuning.translation.config import TranslationConfig
from data_contracts.layout import CHECKPOINT, PAIRS, TRANSFORM_MATRIX, WORLD_ITEMS, WORLD_ROWS
from data_contracts.store import ArtifactRef

NO_DECISION_MAKER = {"decision_maker_learning_rate": None}
"""Of a baseline, which is not trained anew when the rate of what it has not changes."""

MISSING = "missing"
"""Stands for the sha256 of a local source that is not there yet."""


@dataclass(frozen=True)
class RunPlan:
    """The steps of one row of the paper's Table 1."""

    name: str
    materialize: Step
    train: Step
    transform: Step | None
    """None for the baselines, which have no connection."""
    evaluate: Step

    @property
    def steps(self) -> tuple[Step, ...]:
        """In the order they run."""
        return tuple(step for step in (self.materialize, self.train, self.transform, self.evaluate) if step)


@dataclass(frozen=True)
class Plan:
    """All steps of a recipe."""

    recipe: Recipe
    miniature: tuple[Step, ...]
    """What the embedded default has to make first; empty for real models and data."""
    select: Step
    translate: Step
    distill: Step | None
    """None without a +sdrrl run."""
    runs: tuple[RunPlan, ...]
    report: Step

    def __iter__(self) -> Iterator[Step]:
        """Every step once, in an order in which inputs come first."""
        seen = set()
        run_steps = (step for run in self.runs for step in run.steps)
        for step in (*self.miniature, *self.data_steps, *run_steps, self.report):
            if step.ref not in seen:
                seen.add(step.ref)
                yield step

    @property
    def data_steps(self) -> tuple[Step, ...]:
        """What comes before the runs."""
        return (self.select, self.translate, *([self.distill] if self.distill else []))

    def up_to(self, stage: str, run: str | None = None) -> tuple[Step, ...]:
        """The steps of one stage (of one run, when given) and everything they need, inputs first.

        Raises:
            ConfigError: the recipe has no such stage or run.
        """
        wanted = [step for step in self._of_run(run) if step.stage.name == stage]
        if not wanted:
            stages = list(dict.fromkeys(step.stage.name for step in self._of_run(run)))
            raise ConfigError(f"this recipe has no stage {stage!r}; it has: {', '.join(stages)}")
        by_ref = {step.ref: step for step in self}
        needed = set()
        queue = [step.ref for step in wanted]
        while queue:
            ref = queue.pop()
            needed.add(ref)
            queue += [source.at("") for source in by_ref[ref].inputs.values() if isinstance(source, ArtifactRef)]
        return tuple(step for step in self if step.ref in needed)

    def _of_run(self, run: str | None) -> tuple[Step, ...]:
        if run is None:
            return tuple(self)
        for candidate in self.runs:
            if candidate.name == run:
                return (*self.miniature, *self.data_steps, *candidate.steps)
        raise ConfigError(f"this recipe has no run {run!r}; its runs: {', '.join(run.name for run in self.runs)}")


def plan_recipe(recipe: Recipe, *, sources_may_be_missing: bool = False) -> Plan:
    """The recipe's steps.

    `sources_may_be_missing` plans with a stand-in for a local source that is not there yet; such a plan can be shown,
    but its fingerprints change once the source is there, and its steps cannot run.

    Raises:
        ConfigError: a local source does not exist or cannot be read.
    """
    places = _Places(recipe, sources_may_be_missing)
    selection = identity_of(recipe.data, SelectionConfig)
    select = SELECT.step(
        selection, source=places.rows, items=None if selection.decontamination == "none" else places.items
    )
    translate = TRANSLATE.step(
        identity_of(recipe.translation, TranslationConfig), rows=select.ref, translator=places.translator
    )
    distill = _plan_distillation(recipe, places, translate)
    runs = tuple(_plan_run(name, recipe, places, translate, distill) for name in recipe.runs)
    report = _plan_report(recipe, places, [select, translate, *([distill] if distill else [])], runs)
    return Plan(recipe, places.miniature_steps, select, translate, distill, runs, report)


class _Places:
    """Where a recipe's rows, models and items come from; what the embedded default must make for them."""

    def __init__(self, recipe: Recipe, may_be_missing: bool) -> None:
        self._may_be_missing = may_be_missing
        needed = MINIATURE in (recipe.data.source, recipe.model.base, recipe.translation.model, recipe.evaluation.items)
        self._world = WORLD.step(recipe.miniature.world) if needed else None
        # Tiny models are made for the text they will meet, so real rows and items are inputs of their tokenizers.
        texts: dict[str, Source] = {}
        if recipe.data.source != MINIATURE and not is_hub_id(recipe.data.source):
            texts["rows"] = self._local(recipe.data.source)
        if recipe.evaluation.items != MINIATURE:
            texts["items"] = self._local(recipe.evaluation.items)
        self._steps = [self._world] if self._world else []
        self.rows = self._place(recipe.data.source, recipe.data.revision, WORLD_ROWS)
        self.items = self._place(recipe.evaluation.items, "", WORLD_ITEMS)
        self.base = self._model(recipe.model.base, recipe.model.revision, texts, recipe)
        self.translator = self._model(recipe.translation.model, recipe.translation.revision, texts, recipe, nllb=True)

    @property
    def miniature_steps(self) -> tuple[Step, ...]:
        return tuple(self._steps)

    def _local(self, place: str) -> LocalSource:
        path = Path(place).expanduser()
        if self._may_be_missing and not path.exists():
            return LocalSource(path.absolute(), MISSING)
        return LocalSource.of(path)

    def _place(self, place: str, revision: str, subpath: str) -> Source:
        if place == MINIATURE:
            assert self._world is not None
            return self._world.ref.at(subpath)
        return HubSource(place, revision) if is_hub_id(place) and revision else self._local(place)

    def _model(self, place: str, revision: str, texts: dict[str, Source], recipe: Recipe, nllb: bool = False) -> Source:
        if place != MINIATURE:
            return self._place(place, revision, "")
        assert self._world is not None
        step = (
            TRANSLATOR.step(_translator_config(recipe), world=self._world.ref, rows=texts.get("rows"))
            if nllb
            else BASE_MODEL.step(recipe.miniature.base_model, world=self._world.ref, **texts)
        )
        self._steps.append(step)
        return step.ref


def _is_distilled(recipe: Recipe) -> bool:
    return any(added_data(run) == "sdrrl" for run in recipe.runs)


def _translator_config(recipe: Recipe) -> TranslatorConfig:
    """The tiny translator's; +SDRRL translates from English, which takes it twice the time to learn."""
    config = recipe.miniature.translator
    return config.model_copy(update={"both_ways": True}) if _is_distilled(recipe) else config


def _plan_distillation(recipe: Recipe, places: _Places, translate: Step) -> Step | None:
    if not _is_distilled(recipe):
        return None
    config = DistillConfig(
        distillation=recipe.distillation,
        translation=identity_of(recipe.translation, TranslationConfig),
        chat_template=recipe.materialization.chat_template,
    )
    return DISTILL.step(config, pairs=translate.ref, base=places.base, translator=places.translator)


def _plan_run(name: str, recipe: Recipe, places: _Places, translate: Step, distill: Step | None) -> RunPlan:
    connected = name.startswith("cc-tuning")
    setting = added_data(name) or "plain"
    materialize = MATERIALIZE.step(
        identity_of(
            recipe.materialization,
            MaterializationConfig,
            setting=setting,
            offset=recipe.connection.offset,
            min_quality=recipe.data.min_quality,
        ),
        setting,
        pairs=translate.ref,
        tokenizer=places.base,
        distilled=distill.ref if distill and setting == "sdrrl" else None,
    )
    training = TrainConfig(
        objective="sft",
        training=recipe.training if connected else recipe.training.model_copy(update=NO_DECISION_MAKER),
        connection=recipe.connection if connected else None,
    )
    train = TRAIN.step(training, name, training_rows=materialize.ref, base=places.base)
    checkpoint = train.ref.at(CHECKPOINT)
    transform = None
    if connected:
        min_quality = recipe.transform.min_quality
        transform = TRANSFORM.step(
            identity_of(
                recipe.transform,
                TransformConfig,
                min_quality=recipe.data.min_quality if min_quality is None else min_quality,
            ),
            name,
            pairs=translate.ref.at(PAIRS),
            checkpoint=checkpoint,
        )
    evaluate = EVALUATE.step(
        RunEvaluation(run=name, evaluation=identity_of(recipe.evaluation, EvaluationConfig)),
        name,
        items=places.items,
        checkpoint=checkpoint,
        transform=transform.ref.at(TRANSFORM_MATRIX) if transform else None,
    )
    return RunPlan(name, materialize, train, transform, evaluate)


def _plan_report(recipe: Recipe, places: _Places, data_steps: Sequence[Step], runs: tuple[RunPlan, ...]) -> Step:
    inputs: dict[str, Source] = {step.stage.name: step.ref for step in (*places.miniature_steps, *data_steps)}
    inputs["items"] = places.items
    for run in runs:
        inputs |= {f"{step.stage.name}/{run.name}": step.ref for step in run.steps}
    return REPORT.step(report_config(recipe), **inputs)


def report_config(recipe: Recipe) -> ReportConfig:
    """What the report of a recipe says about itself."""
    return ReportConfig(
        name=recipe.name,
        runs=recipe.runs,
        base_model=recipe.model.base,
        bootstrap_samples=recipe.evaluation.bootstrap_samples,
        confidence=recipe.evaluation.confidence,
        seed=recipe.evaluation.seed,
        recipe=recipe.model_dump(mode="json", exclude={"execution"}),
    )
