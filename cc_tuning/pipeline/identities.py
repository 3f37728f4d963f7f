"""From a recipe to what decides each stage's output: one function a stage, and the only way there.

A stage's identity is the config of its own section, with what it needs of other sections beside it by name. Places are
not in it: what they hold is an input.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from cc_tuning.distillation.config import DistillConfig
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.config import NEED_PIVOT, EvaluationConfig, PivotConfig, RunEvaluation
from cc_tuning.evaluation.judge.config import RunJudging
from cc_tuning.evaluation.sources.config import ItemsConfig, SamplingConfig, items_config
from cc_tuning.miniature.config import TranslatorConfig
from cc_tuning.pipeline.recipe import MINIATURE, Recipe
from cc_tuning.pipeline.runs import KNOWN_RUNS, RunSpec, baseline_of
from cc_tuning.report.config import ReportConfig, ReportedRun
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.text.languages import find_language
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.objectives.config import PreferenceConfig, ReferenceConfig
from cc_tuning.training.objectives.table import OBJECTIVES
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.transform.config import ChoiceConfig, ChoosingConfig, TransformConfig
from cc_tuning.translation.config import TargetTranslationConfig, TranslationConfig

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def translator(recipe: Recipe) -> TranslatorConfig:
    """The tiny translator's; to translate from English too (+SDRRL, a target) takes it twice the time to learn."""
    from_english = bool(recipe.translation.target) or any("translation.target" in run.set for run in recipe.runs)
    needs = {
        "both_ways": from_english or any(run.data == "sdrrl" for run in recipe.runs),
        # Rows of the world always need their English, so the translator is trained, or shipped, whatever is asked.
        "reads_prompts": recipe.data.source != MINIATURE and bool(NEED_PIVOT.intersection(_competitors(recipe))),
    }
    return recipe.miniature.translator.model_copy(update={name: True for name, is_needed in needs.items() if is_needed})


def _competitors(recipe: Recipe) -> Iterator[str]:
    yield from recipe.evaluation.competitors
    for run in recipe.runs:
        yield from run.set.get("evaluation.competitors") or ()


def items(recipe: Recipe) -> ItemsConfig:
    """Which items are made of the published data sets; how they are answered and scored is no part of it.

    Raises:
        ConfigError: a benchmark or a language cannot be had.
    """
    section = recipe.evaluation
    sampling = _of_section(section, SamplingConfig)
    # Instructions are given, in a directory of their own.
    benchmarks = [name for name in section.benchmarks if not (BENCHMARKS[name].is_instruction and section.instructions)]
    return items_config(benchmarks, section.languages, section.items_per_language, dict(sampling))


def select(recipe: Recipe) -> SelectionConfig:
    """Which rows are chosen."""
    return _of_section(recipe.data, SelectionConfig)


def translate(recipe: Recipe) -> TranslationConfig:
    """How segments are decoded, and into which language where that is not English."""
    into = TargetTranslationConfig if recipe.translation.target else TranslationConfig
    return _of_section(recipe.translation, into)


def distill(recipe: Recipe) -> DistillConfig:
    """How the rows of +SDRRL are made."""
    return DistillConfig(
        distillation=recipe.distillation,
        translation=_of_section(recipe.translation, TranslationConfig),
        chat_template=recipe.materialization.chat_template,
        engine=recipe.evaluation.engine,
    )


def materialize(recipe: Recipe, run: RunSpec) -> MaterializationConfig:
    """Which training rows a run reads; one with a connection and one without read the same."""
    return MaterializationConfig(
        **dict(recipe.materialization),
        setting=run.data,
        english=run.english,
        min_quality=recipe.data.min_quality,
        offset=recipe.connection.offset,
    )


def train(recipe: Recipe, run: RunSpec) -> TrainConfig:
    """How a run is trained. What it does not read is no part of it: a Decision Maker's rate, a key of `preference`."""
    has_own_rate = run.connected and recipe.connection.has_own_rate
    without: dict[str, float | None] = {} if has_own_rate else {"decision_maker_learning_rate": None}
    assert run.objective is not None
    if not OBJECTIVES[run.objective].distils:
        without["distil_weight"] = TrainingConfig.model_fields["distil_weight"].default
    reads = OBJECTIVES[run.objective].reads
    return TrainConfig(
        objective=run.objective,
        training=recipe.training.model_copy(update=without),
        connection=recipe.connection if run.connected else None,
        preference=PreferenceConfig(**{key: getattr(recipe.preference, key) for key in reads}) if reads else None,
    )


def reference() -> ReferenceConfig:
    """How a reference model is asked, the same for every recipe."""
    return ReferenceConfig()


def transform(recipe: Recipe) -> TransformConfig:
    """How the matrix is fitted; its pairs are as good as the training rows unless the recipe says otherwise.

    Without a choice the identity says nothing of one, so that it is what it was before there were choices.
    """
    asked = recipe.transform.min_quality
    min_quality = recipe.data.min_quality if asked is None else asked
    values = dict(recipe.transform) | {"min_quality": min_quality}
    if recipe.transform.choose_among:
        return ChoosingConfig(**values)
    return TransformConfig(**{name: value for name, value in values.items() if name not in ChoiceConfig.model_fields})


def pivot(recipe: Recipe) -> PivotConfig:
    """Whose prompts are translated for the competitors that need it: those of the items that are asked."""
    section = recipe.evaluation
    return PivotConfig(
        benchmarks=section.benchmarks,
        languages=section.languages,
        items_per_language=section.items_per_language,
        translation=translate(recipe),
    )


def evaluate(recipe: Recipe, run: RunSpec, name: str) -> RunEvaluation:
    """What a run is asked; `name` stands in every row it writes. A trained checkpoint brings its own template, and one
    that learned with the English version in its prompts is asked with it, too."""
    asks_recipe = not run.is_trained and (not run.checkpoint or "materialization.chat_template" in run.set)
    evaluation = _of_section(recipe.evaluation, EvaluationConfig)
    if run.english == "context" and "context" not in evaluation.competitors:
        evaluation = evaluation.model_copy(update={"competitors": ("context", *evaluation.competitors)})
    return RunEvaluation(
        run=name,
        chat_template=recipe.materialization.chat_template if asks_recipe else "tokenizer",
        evaluation=evaluation,
    )


def judge(recipe: Recipe, name: str, baseline: str) -> RunJudging:
    """Who judges a run's answers beside its baseline's; both names stand in every row."""
    return RunJudging(run=name, baseline=baseline, judge=recipe.judge)


def report(recipe: Recipe, runs: Iterable[tuple[RunSpec, str, int | None, Recipe]]) -> ReportConfig:
    """What the page says about the recipe; `runs` are each run with its name, its seed, and its own recipe."""
    return ReportConfig(
        name=recipe.name,
        runs=tuple(
            ReportedRun(
                name=name,
                label=run.title,
                family=run.name,
                seed=seed,
                baseline=baseline_of(run, recipe.runs),
                **(_of_transfer(run, own) if run.data == "preference" else {}),
            )
            for run, name, seed, own in runs
        ),
        base_model=recipe.model.base,
        bootstrap_samples=recipe.evaluation.bootstrap_samples,
        confidence=recipe.evaluation.confidence,
        seed=recipe.evaluation.seed,
        # Runs in full: what a name or `like` stands for is told on the page.
        recipe=recipe.model_dump(mode="json", exclude={"execution"})
        | {"runs": [run.model_dump(mode="json") for run in recipe.runs]},
    )


def _of_transfer(run: RunSpec, recipe: Recipe) -> dict[str, Any]:
    """What a run learns from pairs of two languages: its method, the language that it is moved into, and how many."""
    codes = [recipe.translation.target] if recipe.translation.target else list(recipe.data.languages)
    languages = [find_language(code) for code in codes]
    targets = [language.iso639_1 for language in languages if not language.is_english]
    of_pairs = [other for other in KNOWN_RUNS.values() if other.data == "preference"]
    names = {(other.objective, other.connected): other.label for other in of_pairs}
    method = names.get((run.objective, run.connected), f"{run.objective}{' with the connection' * run.connected}")
    return {"method": method, "target": targets[0] if len(targets) == 1 else "", "pairs": recipe.data.rows}


def _of_section(section: BaseModel, config: type[ConfigT]) -> ConfigT:
    """The library's own config out of a section, without the places."""
    return config(**{name: getattr(section, name) for name in config.model_fields})
