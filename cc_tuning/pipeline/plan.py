"""A recipe as steps: every fingerprint known, nothing run yet.

Each run is planned by itself, from the recipe with the run's own keys laid over it. Steps are equal when their
fingerprints are, so what two runs have in common is there once, whatever the reason that it is equal.

The flow runs these steps, `cc-tuning plan` and `status` look them up, and the per-stage commands run a part of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import NEED_PIVOT, RunEvaluation
from cc_tuning.pipeline import identities
from cc_tuning.pipeline.overrides import names_of, recipe_of_run
from cc_tuning.pipeline.places import LocalSources, Places
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.runs import KNOWN_RUNS, RunSpec, baseline_of
from cc_tuning.runtime.sources import Source
from cc_tuning.runtime.stage_table import (
    DISTILL,
    EVALUATE,
    JUDGE,
    MATERIALIZE,
    PIVOT,
    REFERENCE,
    REPORT,
    SELECT,
    TRAIN,
    TRANSFORM,
    TRANSLATE,
)
from cc_tuning.runtime.step import Step
from cc_tuning.training.objectives.table import OBJECTIVES
from data_contracts.layout import CHECKPOINT, PAIRS, TRANSFORM_MATRIX
from data_contracts.store import ArtifactRef


@dataclass(frozen=True)
class DataPlan:
    """The steps that give runs their pairs."""

    select: Step
    translate: Step
    distill: Step | None = None
    """None without a run that learns from distilled answers."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """In the order they run."""
        return tuple(step for step in (self.select, self.translate, self.distill) if step)


@dataclass(frozen=True)
class RunPlan:
    """The steps of one run, with one seed; a step that it does not need is None."""

    spec: RunSpec
    name: str
    """That of its run, or with the seed behind it."""
    seed: int | None
    """The one that took the place of the recipe's own."""
    recipe: Recipe
    """With the run's keys and its seed laid over it."""
    items: Step | None
    """What makes the benchmark items; None where they are given."""
    embedded: tuple[Step, ...]
    """What the embedded default has to make first; empty for real models and data."""
    data: DataPlan | None
    start: tuple[Step, ...]
    """What makes the checkpoint that it starts from, inputs first; empty where that is the base model."""
    materialize: Step | None
    reference: Step | None
    train: Step | None
    transform: Step | None
    pivot: Step | None
    """What translates the items' prompts, for competitors that read them."""
    evaluate: Step
    judge: Step | None = None
    """Of its answers beside its baseline's; None without a judge or a baseline."""

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """From its training rows to its scores, in the order they run."""
        steps = (self.materialize, self.reference, self.train, self.transform, self.pivot, self.evaluate)
        return tuple(step for step in steps if step)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, inputs first but for the baseline's, which its judge needs."""
        items, judge = (self.items,) if self.items else (), (self.judge,) if self.judge else ()
        return (*items, *self.embedded, *(self.data.steps if self.data else ()), *self.start, *self.own_steps, *judge)


@dataclass(frozen=True)
class Plan:
    """All steps of a recipe."""

    recipe: Recipe
    runs: tuple[RunPlan, ...]
    report: Step
    items: tuple[Step, ...]
    """What makes the benchmark items, once for each choice of them."""

    @property
    def embedded(self) -> tuple[Step, ...]:
        """What the embedded default has to make first."""
        return _distinct(step for run in self.runs for step in run.embedded)

    @property
    def data(self) -> tuple[DataPlan, ...]:
        """The pairs of its runs: one of them, unless a run changes a key of its data."""
        return _distinct_data(self.runs)

    def __iter__(self) -> Iterator[Step]:
        """Every step once, in an order in which inputs come first."""
        data = [step for plan in self.data for step in plan.steps]
        own = [step for run in self.runs for step in (*run.start, *run.own_steps)]
        judges = [run.judge for run in self.runs if run.judge]
        yield from _distinct((*self.items, *self.embedded, *data, *own, *judges, self.report))

    def up_to(self, stage: str, run: str | None = None) -> tuple[Step, ...]:
        """The steps of one stage (of one run, when given) and everything they need, inputs first.

        Raises:
            ConfigError: the recipe has no such stage or run.
        """
        there = tuple(self) if run is None else _distinct(step for plan in self.of_run(run) for step in plan.steps)
        wanted = [step for step in there if step.stage.name == stage]
        if not wanted:
            stages = list(dict.fromkeys(step.stage.name for step in there))
            raise ConfigError(f"this recipe has no stage {stage!r}; it has: {', '.join(stages)}")
        by_ref = {step.ref: step for step in self}
        needed = set()
        queue = [step.ref for step in wanted]
        while queue:
            ref = queue.pop()
            needed.add(ref)
            queue += [source.at("") for source in by_ref[ref].inputs.values() if isinstance(source, ArtifactRef)]
        return tuple(step for step in self if step.ref in needed)

    def of_run(self, name: str) -> tuple[RunPlan, ...]:
        """The run of that name, once for each of its seeds, or for the one that the name says.

        Raises:
            ConfigError: the recipe has no such run.
        """
        found = tuple(run for run in self.runs if name in (run.name, run.spec.name))
        if not found:
            raise ConfigError(f"this recipe has no run {name!r}; its runs: {', '.join(run.name for run in self.runs)}")
        return found


def plan_recipe(recipe: Recipe, *, sources_may_be_missing: bool = False, hash_sources: bool = True) -> Plan:
    """The recipe's steps.

    `sources_may_be_missing` plans with a stand-in for a local source that is not there yet; such a plan can be shown,
    but its fingerprints change once the source is there, and its steps cannot run. Nor can those of a plan without
    `hash_sources`, which is made at once, however large a model is.

    Raises:
        ConfigError: a local source does not exist or cannot be read, or a run cannot be planned.
    """
    local = LocalSources(sources_may_be_missing, hash_sources)
    runs = tuple(
        _plan_run(spec, name, seed, recipe, local)
        for spec in recipe.runs
        for name, seed in names_of(spec, recipe.seeds).items()
    )
    runs = tuple(_with_judge(run, runs, recipe) for run in runs)
    places = Places(recipe, local)
    items = _distinct(step for step in (places.items_step, *(run.items for run in runs)) if step)
    return Plan(recipe, runs, _plan_report(recipe, runs, places), items)


def _plan_run(spec: RunSpec, name: str, seed: int | None, whole: Recipe, local: LocalSources) -> RunPlan:
    recipe = recipe_of_run(whole, spec, seed)
    places = Places(recipe, local)
    training, transform = _Training(), None
    checkpoint = places.checkpoint(spec.checkpoint, spec.revision) if spec.checkpoint else places.base
    if spec.is_trained:
        training = _plan_training(spec, name, seed, whole, local, places)
        assert training.data and training.train
        checkpoint = training.train.ref.at(CHECKPOINT)
        if spec.connected:
            transform = TRANSFORM.step(
                identities.transform(recipe),
                name,
                pairs=training.data.translate.ref.at(PAIRS),
                checkpoint=checkpoint,
                base=places.base,
            )
    evaluation = identities.evaluate(recipe, spec, name)
    pivot = _plan_pivot(recipe, spec, evaluation, places)
    evaluate = EVALUATE.step(
        evaluation,
        name,
        items=places.items,
        instructions=places.instructions,
        checkpoint=checkpoint,
        transform=transform.ref.at(TRANSFORM_MATRIX) if transform else None,
        pivot=pivot.ref if pivot else None,
    )
    return RunPlan(
        spec=spec,
        name=name,
        seed=seed,
        recipe=recipe,
        items=places.items_step,
        embedded=places.embedded,
        transform=transform,
        pivot=pivot,
        evaluate=evaluate,
        **vars(training),
    )


def _with_judge(run: RunPlan, runs: tuple[RunPlan, ...], recipe: Recipe) -> RunPlan:
    """`run` with its judge: beside the baseline of the same seed, or its only one."""
    baseline = baseline_of(run.spec, recipe.runs)
    others = [other for other in runs if other.spec.name == baseline and other.seed in (run.seed, None)]
    if run.recipe.judge.kind == "none" or not others:
        return run
    step = JUDGE.step(
        identities.judge(run.recipe, run.name, others[0].name),
        run.name,
        answers=run.evaluate.ref,
        baseline=others[0].evaluate.ref,
        items=run.evaluate.inputs["items"],
        instructions=run.evaluate.inputs.get("instructions"),
    )
    return replace(run, judge=step)


def _plan_pivot(recipe: Recipe, spec: RunSpec, evaluation: RunEvaluation, places: Places) -> Step | None:
    """Nothing where no competitor of the run reads translated prompts; a checkpoint from elsewhere may be connected."""
    asked = NEED_PIVOT.intersection(evaluation.evaluation.competitors)
    if not spec.connected and not spec.checkpoint:
        asked -= {"pivot"}
    if not asked:
        return None
    return PIVOT.step(identities.pivot(recipe), items=places.items, translator=places.translator)


@dataclass(frozen=True)
class _Training:
    """The steps of a run up to its checkpoint."""

    data: DataPlan | None = None
    start: tuple[Step, ...] = ()
    materialize: Step | None = None
    reference: Step | None = None
    train: Step | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        own = (*(self.data.steps if self.data else ()), *self.start, self.materialize, self.reference, self.train)
        return tuple(step for step in own if step)


def _plan_training(
    spec: RunSpec, name: str, seed: int | None, whole: Recipe, local: LocalSources, places: Places
) -> _Training:
    recipe = recipe_of_run(whole, spec, seed)
    data = _plan_data(recipe, spec, places)
    materialize = MATERIALIZE.step(
        identities.materialize(recipe, spec),
        spec.data if spec.english == "none" else f"{spec.data}-{spec.english}",
        pairs=data.translate.ref,
        tokenizer=places.base,
        distilled=data.distill.ref if data.distill else None,
    )
    base, start = _plan_start(spec.start, seed, whole, local) if spec.start else (places.base, ())
    reference = None
    assert spec.objective is not None
    if OBJECTIVES[spec.objective].needs_reference:
        reference = REFERENCE.step(identities.reference(), name, rows=materialize.ref, base=base)
    train = TRAIN.step(
        identities.train(recipe, spec),
        name,
        training_rows=materialize.ref,
        base=base,
        reference=reference.ref if reference else None,
    )
    return _Training(data, start, materialize, reference, train)


def _plan_start(name: str, seed: int | None, whole: Recipe, local: LocalSources) -> tuple[Source, tuple[Step, ...]]:
    """The checkpoint of the run `name` with the same seed, and the steps that make it."""
    spec = {**KNOWN_RUNS, **{run.name: run for run in whole.runs}}[name]
    places = Places(recipe_of_run(whole, spec, seed), local)
    label = name if seed is None else f"{name}-seed{seed}"
    training = _plan_training(spec, label, seed, whole, local, places)
    assert training.train
    return training.train.ref.at(CHECKPOINT), (*places.embedded, *training.steps)


def _plan_data(recipe: Recipe, spec: RunSpec, places: Places) -> DataPlan:
    selection = identities.select(recipe)
    items = None if selection.decontamination == "none" else places.kept_out_of_rows
    select = SELECT.step(selection, source=places.rows, items=items)
    translate = TRANSLATE.step(identities.translate(recipe), rows=select.ref, translator=places.translator)
    if spec.data != "sdrrl":
        return DataPlan(select, translate)
    distill = DISTILL.step(
        identities.distill(recipe), pairs=translate.ref, base=places.base, translator=places.translator
    )
    return DataPlan(select, translate, distill)


def _plan_report(recipe: Recipe, runs: tuple[RunPlan, ...], places: Places) -> Step:
    """The report's step; its inputs are named as in `cc_tuning/report/evidence.py`."""
    embedded = _distinct(step for run in runs for step in run.embedded)
    inputs: dict[str, Source] = {}
    for step in embedded:
        inputs.setdefault(step.stage.name, step.ref)
    for data in _distinct_data(runs)[:1]:
        inputs |= {step.stage.name: step.ref for step in data.steps}
    inputs["items"] = places.items
    for run in runs:
        own = (*run.own_steps, *((run.judge,) if run.judge else ()))
        of_others = (*run.start, *own)
        shared = [step for step in run.steps if step not in of_others and step.ref not in inputs.values()]
        inputs |= {f"{step.stage.name}/{run.name}": step.ref for step in (*shared, *own)}
    return REPORT.step(
        identities.report(recipe, ((run.spec, run.name, run.seed, run.recipe) for run in runs)), **inputs
    )


def _distinct(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Of steps that make the same artifact, the first."""
    found: dict[ArtifactRef, Step] = {}
    for step in steps:
        found.setdefault(step.ref, step)
    return tuple(found.values())


def _distinct_data(runs: Iterable[RunPlan]) -> tuple[DataPlan, ...]:
    """Pairs that are the same are there once; those without distilled answers are part of those with them."""
    plans = [run.data for run in runs if run.data]
    distilled = {plan.translate.ref for plan in plans if plan.distill}
    kept = [plan for plan in plans if plan.distill or plan.translate.ref not in distilled]
    return tuple({(plan.translate.ref, plan.distill and plan.distill.ref): plan for plan in kept}.values())
