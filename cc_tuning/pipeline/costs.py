"""What each step of a plan costs on a device: seconds, device seconds and peak memory, and what will not fit.

Orders of magnitude, made of the rows and tokens of `estimates.py`, the formulas of `arithmetic.py` and the devices of
`runtime/devices.csv`; docs/scale.md holds them against what was measured. A step that the store has costs nothing.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from cc_tuning.distillation.config import ANSWERED
from cc_tuning.pipeline.arithmetic import BYTES_OF, fit_flops, key_value_bytes
from cc_tuning.pipeline.device_seconds import (
    SEGMENT_TOKENS,
    answering_seconds,
    loading_seconds,
    reading_seconds,
    translating_seconds,
)
from cc_tuning.pipeline.estimates import TOKENS_PER_TEXT, added_rows, chosen_rows, evaluation_items, questions
from cc_tuning.pipeline.model_shapes import ModelShape, base_shape, translator_shape
from cc_tuning.pipeline.plan import Plan, RunPlan
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.training_cost import TrainingWork, what_fits
from cc_tuning.runtime.device_table import Device
from cc_tuning.runtime.provenance import readable_bytes
from cc_tuning.training.objectives.table import OBJECTIVES

ROWS_PER_SECOND = {"select": 20_000, "materialize": 3_000, "items": 5_000, "report": 200_000}
"""Of stages that run no model, on one core; the report's of item scores (docs/scale.md says how each was measured)."""
SCORES_OF_AN_ANSWER = 11  # item scores: 15.3 million of 1.39 million answers (docs/performance.md)


@dataclass(frozen=True)
class Cost:
    """Of one step; None is unknown."""

    seconds: float | None = None
    devices: int = 0
    """That are held all the while; 0 of a step that runs no model."""
    memory_bytes: float | None = None
    """Of each device at most."""
    advice: str = ""
    """Why it will not fit a device and what to change; empty where it fits."""

    @property
    def device_seconds(self) -> float | None:
        """Seconds times devices."""
        return None if self.seconds is None else self.seconds * self.devices


NOTHING = Cost(0.0, 0, 0.0)
UNKNOWN = Cost()


def estimate_costs(plan: Plan, finished: Collection[str], device: Device) -> dict[str, Cost]:
    """The cost of each step, by fingerprint; nothing for the `finished` ones."""
    costs = {step.fingerprint: UNKNOWN for step in plan}
    answers = 0
    for run in plan.runs:
        answers += questions(run)[0]
        costs |= _data_costs(run, device) | _run_costs(run, device)
        if run.items:
            costs[run.items.fingerprint] = _on_a_core("items", evaluation_items(run.recipe))
    costs[plan.report.fingerprint] = _on_a_core("report", SCORES_OF_AN_ANSWER * answers)
    return costs | {step.fingerprint: NOTHING for step in plan if step.fingerprint in finished}


def _on_a_core(stage: str, rows: int) -> Cost:
    return Cost(rows / ROWS_PER_SECOND[stage])


def _data_costs(run: RunPlan, device: Device) -> dict[str, Cost]:
    if run.data is None:
        return {}
    rows = chosen_rows(run.recipe)
    costs = {
        run.data.select.fingerprint: _on_a_core("select", rows),
        run.data.translate.fingerprint: _translation(run.recipe, device, rows * 2 * TOKENS_PER_TEXT),
    }
    if run.data.distill:
        costs[run.data.distill.fingerprint] = _distillation(run.recipe, device, rows)
    return costs


def _run_costs(run: RunPlan, device: Device) -> dict[str, Cost]:
    recipe, shape = run.recipe, base_shape(run.recipe)
    rows = chosen_rows(recipe)
    examples = rows + added_rows(run, recipe, rows)
    costs = {}
    if run.materialize:
        costs[run.materialize.fingerprint] = _on_a_core("materialize", examples)
    if run.pivot:
        tokens = evaluation_items(recipe) * TOKENS_PER_TEXT
        costs[run.pivot.fingerprint] = _translation(recipe, device, tokens)
    if shape is None:
        return costs
    if run.reference:
        costs[run.reference.fingerprint] = _reference(recipe, shape, device, examples)
    if run.train:
        costs[run.train.fingerprint] = training_cost(training_work(run, shape, examples), device)
    if run.transform:
        costs[run.transform.fingerprint] = _transform(recipe, shape, device, rows)
    costs[run.evaluate.fingerprint] = _evaluation(run, shape, device)
    return costs


def training_work(run: RunPlan, shape: ModelShape, examples: int) -> TrainingWork:
    """The training of a run on so many rows."""
    recipe, spec = run.recipe, run.spec
    assert spec.objective is not None
    objective, longest = OBJECTIVES[spec.objective], recipe.materialization.cutoff_tokens
    sequences = 4 if spec.data == "preference" else 1
    return TrainingWork(
        shape=shape,
        training=recipe.training,
        execution=recipe.execution,
        rows=examples,
        row_tokens=sequences * min(2 * TOKENS_PER_TEXT, longest),
        sequences=sequences,
        english_tokens=TOKENS_PER_TEXT if spec.connected else 0,
        longest=longest,
        attention_alone=objective.trained == "attention",
        passes=objective.passes,
    )


def training_cost(work: TrainingWork, device: Device) -> Cost:
    """Of a training on `execution.processes` devices."""
    seconds = loading_seconds(work.shape, work.training.dtype) + work.seconds(device)
    needed, advice = work.memory_bytes, ""
    if needed > device.memory_bytes:
        advice = f"{_too_large(needed, device)}: {what_fits(work, device.memory_bytes)}"
    return Cost(seconds, work.execution.processes, needed, advice)


def _translation(recipe: Recipe, device: Device, tokens: int) -> Cost:
    shape, config, execution = translator_shape(recipe), recipe.translation, recipe.execution
    if shape is None:
        return UNKNOWN
    workers, batch_tokens = execution.translation_workers, execution.translation_batch_tokens
    work = translating_seconds(shape, config.dtype, device, tokens / workers, batch_tokens, config.beams)
    sequences = config.beams * max(1, batch_tokens // SEGMENT_TOKENS)
    kept = key_value_bytes(shape, config.dtype, sequences * 2 * SEGMENT_TOKENS)
    return _answered(shape, config.dtype, device, work, workers, kept, "execution.translation_batch_tokens")


def _distillation(recipe: Recipe, device: Device, rows: int) -> Cost:
    shape, config, execution = base_shape(recipe), recipe.distillation, recipe.execution
    if shape is None:
        return UNKNOWN
    answers = round(max(config.shares[task] for task in ANSWERED) * rows)
    made = sum(round(share * rows) for share in config.shares.values())
    workers, batch = _inference_workers(recipe), execution.evaluation_batch_size
    new_tokens, dtype = config.max_new_tokens, config.dtype
    work = answering_seconds(shape, dtype, device, answers / workers, TOKENS_PER_TEXT, new_tokens, batch)
    kept = key_value_bytes(shape, dtype, batch * (TOKENS_PER_TEXT + new_tokens))
    asked = _answered(shape, dtype, device, work, workers, kept, "execution.evaluation_batch_size")
    translated = _translation(recipe, device, made * TOKENS_PER_TEXT)
    seconds = None if asked.seconds is None or translated.seconds is None else asked.seconds + translated.seconds
    memory = max(asked.memory_bytes or 0.0, translated.memory_bytes or 0.0)
    return Cost(seconds, workers, memory, asked.advice or translated.advice)


def _reference(recipe: Recipe, shape: ModelShape, device: Device, examples: int) -> Cost:
    """Forward passes over the four sequences of a row, in float32."""
    workers, sequence = _inference_workers(recipe), min(2 * TOKENS_PER_TEXT, recipe.materialization.cutoff_tokens)
    tokens = 4 * examples * sequence / workers
    passes = math.ceil(4 * examples / workers / recipe.execution.evaluation_batch_size)
    work = reading_seconds(shape, "float32", device, tokens, passes)
    return _answered(shape, "float32", device, work, workers, 0.0, "execution.evaluation_batch_size")


def _transform(recipe: Recipe, shape: ModelShape, device: Device, rows: int) -> Cost:
    """Two forward passes of each pair, and the fit on a row for each layer of it."""
    fit, dtype = recipe.transform, recipe.training.dtype
    pairs = min(fit.pairs, rows)
    passes = math.ceil(2 * pairs / recipe.execution.transform_batch_size)
    reading = reading_seconds(shape, dtype, device, pairs * 2 * TOKENS_PER_TEXT, passes)
    sampled = pairs * shape.layers
    fitting = fit_flops(sampled, shape.hidden_size) / device.speed("float64")
    kept = 2.0 * sampled * shape.hidden_size * BYTES_OF["float32"]
    return _answered(shape, dtype, device, reading + fitting, 1, kept, "transform.pairs")


def _evaluation(run: RunPlan, shape: ModelShape, device: Device) -> Cost:
    """Answers and likelihoods; a connected prompt is read twice."""
    recipe, (answers, asked) = run.recipe, questions(run)
    workers, batch, dtype = _inference_workers(recipe), recipe.execution.evaluation_batch_size, recipe.training.dtype
    new_tokens = recipe.evaluation.max_new_tokens
    work = answering_seconds(shape, dtype, device, answers / workers, TOKENS_PER_TEXT, new_tokens, batch)
    passes = math.ceil(asked / workers / batch)
    work += reading_seconds(shape, dtype, device, asked * TOKENS_PER_TEXT / workers, passes)
    kept = key_value_bytes(shape, dtype, batch * (TOKENS_PER_TEXT + new_tokens))
    return _answered(shape, dtype, device, work, workers, kept, "execution.evaluation_batch_size")


def _inference_workers(recipe: Recipe) -> int:
    """One for each GPU are as many as training has processes."""
    workers = recipe.execution.inference_workers
    return recipe.execution.processes if workers == "one_per_gpu" else workers


def _answered(
    shape: ModelShape, dtype: str, device: Device, seconds: float, workers: int, kept: float, key: str
) -> Cost:
    """Of workers with the weights and `kept` bytes beside them, for which `key` is responsible."""
    weights = float(BYTES_OF[dtype] * shape.parameters)
    advice = ""
    if weights + kept > device.memory_bytes:
        lower = f"set a smaller {key}"
        larger = "take a device with more memory, or servers of several devices (`execution.vllm_url`)"
        advice = f"{_too_large(weights + kept, device)}: {lower if weights < device.memory_bytes else larger}"
    return Cost(loading_seconds(shape, dtype) + seconds, workers, weights + kept, advice)


def _too_large(needed: float, device: Device) -> str:
    return (
        f"needs {readable_bytes(int(needed))}, a device ({device.kind}) has {readable_bytes(int(device.memory_bytes))}"
    )
