"""Everything that can be told of a recipe's files and models in seconds, before anything is translated or trained.

One pass, all findings at once, each with where it is and what to do. Of models only JSON files, the tokenizer and the
headers of weights are read, of rows the first thousands. What can be said only of all rows is said by their stages.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from typing import Any

import polars as pl
from transformers import PretrainedConfig

from cc_tuning.distillation.config import DistillConfig
from cc_tuning.errors import CcTuningError, ConfigError
from cc_tuning.evaluation.config import PivotConfig
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.judge.config import RunJudging
from cc_tuning.model.families import FAMILIES
from cc_tuning.model.headers import faults_of_weights
from cc_tuning.pipeline.places import MISSING
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.pretrained import faults_of_model, load_config
from cc_tuning.runtime.sources import HubSource, LocalSource, Location, Source
from cc_tuning.runtime.step import Step
from cc_tuning.runtime.weight_files import WeightFiles
from cc_tuning.selection.checks import RULES, identify_rows, judge_rows
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.normalisation import normalise
from cc_tuning.selection.sources import read_batches
from cc_tuning.text.chat_templates import ChatTemplate
from cc_tuning.text.languages import ENGLISH_FLORES_CODE, Language, find_language
from cc_tuning.text.prompts import ChatPrompts, embeddings_needed, load_tokenizer
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.objectives.table import OBJECTIVES
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.translation.config import TargetTranslationConfig, TranslationConfig
from cc_tuning.translation.model_files import check_knows, load_family
from data_contracts.errors import ArtifactMismatch, ContractViolation, DataContractError

_TRACKER_MODULES = {
    "azure_ml": "azureml", "clearml": "clearml", "codecarbon": "codecarbon", "comet_ml": "comet_ml",
    "dagshub": "dagshub", "dvclive": "dvclive", "flyte": "flytekit", "mlflow": "mlflow", "neptune": "neptune",
    "swanlab": "swanlab", "tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb",
}  # fmt: skip
"""The module that a tracker of transformers' `report_to` needs."""


@dataclass(frozen=True)
class Finding:
    """Something that would stop a stage, or give it wrong results."""

    where: str
    """A key of the recipe, with the file or model it names."""
    what: str
    """What was found, what was expected, and what to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def find_faults(steps: Iterable[Step], execution: Execution) -> tuple[Finding, ...]:
    """What is wrong with the files, models and settings that `steps` read, each once, in the order of the steps."""
    found: dict[Finding, None] = {}
    rows = _RowSamples(execution)
    checked: set[tuple[str, str]] = set()
    for step in steps:
        for finding in (*_missing(step), *_of_step(step, rows, execution)):
            key = (finding.where, finding.what)
            if key not in checked:
                checked.add(key)
                found[finding] = None
    return tuple(found)


def require_sound(steps: Iterable[Step], execution: Execution) -> None:
    """Refuse to start steps of which something is known that would stop them later.

    Raises:
        ConfigError: with all findings, a line each.
    """
    if found := find_faults(steps, execution):
        several = f"{len(found)} findings, and nothing was started:\n  " if len(found) > 1 else ""
        raise ConfigError(several + "\n  ".join(map(str, found)))


def _of_step(step: Step, rows: "_RowSamples", execution: Execution) -> Iterator[Finding]:
    """The findings of one step, by its stage."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "select": lambda: rows.findings(step),
        "translate": lambda: _of_translation(step, rows),
        "distill": lambda: _of_distillation(step),
        "materialize": lambda: _of_materialization(step),
        "train": lambda: _of_training(step, execution),
        "pivot": lambda: _of_pivot(step),
        "evaluate": lambda: _of_evaluation(step),
        "judge": lambda: _of_judge(step, rows.execution),
    }
    check = checks.get(step.stage.name)
    if check is not None:
        yield from check()


def _missing(step: Step) -> Iterator[Finding]:
    keys = {
        "source": "data.source", "base": "model.base", "tokenizer": "model.base", "items": "evaluation.items",
        "instructions": "evaluation.instructions",
    }  # fmt: skip
    for name, source in step.inputs.items():
        if isinstance(source, LocalSource) and (source.sha256 == MISSING or not source.path.exists()):
            yield Finding(keys.get(name, name), f"{source.path} does not exist; check the path in the recipe")


def _place(source: Source | None) -> Location | None:
    """Where an input can be looked at; None for what a step makes, and for what is not there."""
    if isinstance(source, LocalSource) and source.sha256 != MISSING and source.path.exists():
        return Location(str(source.path))
    return Location(source.repo_id, source.revision) if isinstance(source, HubSource) else None


@dataclass(frozen=True)
class _RowSamples:
    """The first rows of sources, judged once each."""

    execution: Execution

    @cached_property
    def _of_source(self) -> dict[str, pl.DataFrame]:
        return {}

    def findings(self, step: Step) -> Iterator[Finding]:
        """Whether the source can be read, and how many of its first rows can be learnt from."""
        config, place = step.config, _place(step.inputs["source"])
        assert isinstance(config, SelectionConfig)
        if "items" in step.inputs:
            yield from _of_items(step.inputs["items"])
        if place is None or not place.is_local:
            return
        try:
            batches = list(islice(read_batches(place, config.columns), 2))
        except (CcTuningError, DataContractError) as error:
            yield Finding("data.source", str(error))
            return
        sample = identify_rows(batches[0]) if batches else pl.DataFrame()
        if sample.is_empty():
            yield Finding("data.source", f"{place.name} has no rows; give it some, or set another source")
            return
        self._of_source[place.name] = sample
        texts = pl.DataFrame([normalise(sample[name]) for name in ("inputs", "targets", "inputs_en", "targets_en")])
        counts = judge_rows(sample, texts, None)["rule"].drop_nulls().value_counts(sort=True).rows()
        unfit = sum(count for _, count in counts)
        if unfit > self.execution.quarantine_limit * sample.height:
            reasons = "; ".join(f"{count} {rule} ({RULES[rule]})" for rule, count in counts)
            limit = f"{self.execution.quarantine_limit:.1%}"
            yield Finding(
                "data.source",
                f"{unfit} of the first {sample.height} rows of {place.name} would be set aside, the limit is {limit}: "
                f"{reasons}. Mend the source, or raise `execution.quarantine_limit`",
            )

    def need_translation(self) -> bool:
        """Whether a row of the samples has no English of its own."""
        lacking = pl.col("inputs_en").is_null() & (pl.col("flores_code") != ENGLISH_FLORES_CODE)
        return any(sample.filter(lacking).height for sample in self._of_source.values())


def _of_translation(step: Step, rows: _RowSamples) -> Iterator[Finding]:
    config = step.config
    assert isinstance(config, TranslationConfig)
    target = find_language(config.target) if isinstance(config, TargetTranslationConfig) else None
    if target is not None or rows.need_translation():
        yield from _of_translator(step, config, target)


def _of_pivot(step: Step) -> Iterator[Finding]:
    assert isinstance(step.config, PivotConfig)
    yield from _of_translator(step, step.config.translation, None)


def _of_translator(step: Step, config: TranslationConfig, target: Language | None) -> Iterator[Finding]:
    place = _place(step.inputs.get("translator"))
    if config.engine == "ctranslate2" and find_spec("ctranslate2") is None:
        yield Finding("translation.engine", "ctranslate2 is not installed; run `pip install 'cc-tuning[ct2]'`")
    if place is not None:
        family, failures = _tried("translation.model", lambda: load_family(place))
        yield from failures
        if family is not None and target is not None:
            yield from _failing("translation.target", lambda: check_knows(family, target, place.name))


def _of_distillation(step: Step) -> Iterator[Finding]:
    assert isinstance(step.config, DistillConfig)
    yield from _of_tokenizer(step.inputs["base"], step.config.chat_template, "model.base")


def _of_materialization(step: Step) -> Iterator[Finding]:
    assert isinstance(step.config, MaterializationConfig)
    yield from _of_tokenizer(step.inputs["tokenizer"], step.config.chat_template, "model.base")


def _of_training(step: Step, execution: Execution) -> Iterator[Finding]:
    config = step.config
    assert isinstance(config, TrainConfig)
    yield from _of_extras(config, execution)
    place = _place(step.inputs["base"])
    if place is None:
        return
    model, found = _checked_model(place, "model.base")
    yield from found
    if model is None:
        return
    needs_parts = config.connection is not None or OBJECTIVES[config.objective].trained == "attention"
    if needs_parts and model.model_type not in FAMILIES:
        yield Finding(
            "model.base",
            f"{place.name} is of type {model.model_type!r}, which the connection does not know; known are "
            f"{', '.join(sorted(FAMILIES))}. Take a model of these, or train ML-SFT alone (`runs: [ml-sft]`)",
        )
    tokenizer, _ = _tried("model.base", lambda: load_tokenizer(place, "llama3"))
    needed = 0 if tokenizer is None else embeddings_needed(tokenizer)
    if needed > getattr(model, "vocab_size", needed):
        yield Finding(
            "model.base",
            f"the tokenizer of {place.name} has {needed} tokens, its model embeds {model.vocab_size}; use the "
            "tokenizer of this model",
        )


def _checked_model(place: Location, where: str) -> tuple[PretrainedConfig | None, list[Finding]]:
    """The configuration of a model, and what is wrong with it or its weights; None where it cannot be looked at."""
    weights = WeightFiles(place.path) if place.is_local else None
    if weights is not None and (faults := list(faults_of_model(weights))):
        return None, [Finding(where, f"{place.name} {fault}") for fault in faults]
    model, found = _tried(where, lambda: load_config(place))
    if model is not None and weights is not None:
        found += [Finding(where, f"{place.name}: {fault}") for fault in faults_of_weights(weights, model)]
    return model, found


def _of_extras(config: TrainConfig, execution: Execution) -> Iterator[Finding]:
    needs = {
        "training.lora.rank": ("peft", "lora", bool(config.training.lora.rank)),
        "execution.sharding": ("deepspeed", "deepspeed", execution.sharding == "zero3"),
        "execution.task_runner": ("ray", "ray", execution.task_runner == "ray"),
    }
    for key, (module, extra, is_needed) in needs.items():
        if is_needed and find_spec(module) is None:
            yield Finding(key, f"needs {module}, which is not installed; run `pip install 'cc-tuning[{extra}]'`")
    if execution.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        yield Finding("execution.attention", "needs flash_attn, which is not installed; install it, or set it to sdpa")
    for tracker in execution.report_to:
        needed = _TRACKER_MODULES.get(tracker)
        if tracker not in ("all", "none") and needed is None:
            yield Finding("execution.report_to", f"no tracker {tracker!r}; known are {', '.join(_TRACKER_MODULES)}")
        elif needed is not None and find_spec(needed) is None:
            yield Finding("execution.report_to", f"{tracker} needs {needed}, which is not installed; install it")


def _of_evaluation(step: Step) -> Iterator[Finding]:
    config: Any = step.config
    chosen = config.evaluation
    if "instructions" not in step.inputs:  # which of the two folders has an item is told when they are read
        yield from _of_items(
            step.inputs["items"],
            lambda items: select_items(items, chosen.benchmarks, chosen.languages, chosen.items_per_language),
        )
    place = _place(step.inputs["checkpoint"])
    if place is not None:
        yield from _checked_model(place, "the model evaluated")[1]
        yield from _of_tokenizer(step.inputs["checkpoint"], config.chat_template, "the model evaluated")


def _of_judge(step: Step, execution: Execution) -> Iterator[Finding]:
    assert isinstance(step.config, RunJudging)
    if step.config.judge.kind == "openai" and not execution.judge_address:
        yield Finding(
            "execution.judge_address",
            "is empty, and judge.kind is openai; expected where the judge answers, such as http://localhost:8000/v1",
        )


def _of_items(source: Source, choose: Callable[[pl.DataFrame], object] = lambda _items: None) -> Iterator[Finding]:
    place = _place(source)
    if place is not None and place.is_local:
        loaded, failures = _tried("evaluation.items", lambda: load_items(place.path))
        yield from failures
        if loaded is not None and loaded.items.is_empty():
            rules = loaded.quarantined["rule"].value_counts(sort=True).rows()
            broken = ", ".join(f"{count} {rule}" for rule, count in rules)
            yield Finding(
                "evaluation.items", f"none of {loaded.read} items of {place.name} is sound: {broken}; mend them"
            )
        elif loaded is not None:
            yield from _failing("evaluation.items", lambda: choose(loaded.items))


def _of_tokenizer(source: Source, chat_template: ChatTemplate, where: str) -> Iterator[Finding]:
    place = _place(source)
    if place is not None:
        yield from _failing(where, lambda: ChatPrompts(load_tokenizer(place, chat_template)))


def _tried(where: str, work: Callable[[], Any]) -> tuple[Any, list[Finding]]:
    try:
        return work(), []
    except (CcTuningError, ContractViolation, ArtifactMismatch) as error:
        return None, [Finding(where, str(error))]


def _failing(where: str, work: Callable[[], object]) -> list[Finding]:
    return _tried(where, work)[1]
