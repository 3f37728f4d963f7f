"""Recipes with English in the prompts or by a translator: which steps they have, and what is refused."""

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import EvaluationConfig, PivotConfig, RunEvaluation
from cc_tuning.pipeline.identities import evaluate, materialize
from cc_tuning.pipeline.plan import Plan
from cc_tuning.pipeline.runs import KNOWN_RUNS, read_runs
from tests.pipeline.test_runs import fingerprints, labels, plan


def pivots(planned: Plan) -> dict[str, bool]:
    """By run, whether its evaluation reads translated prompts."""
    return {run.name: "pivot" in run.evaluate.inputs for run in planned.runs}


def test_prompts_are_translated_once_for_all_runs_that_read_them_and_for_no_other() -> None:
    planned = plan("[base, ml-sft, cc-tuning, cc-tuning+en]", "evaluation.competitors=[pivot]")
    assert pivots(planned) == {"base": False, "ml-sft": False, "cc-tuning": True, "cc-tuning+en": True}
    assert labels(planned, "pivot") == ["pivot"]
    steps = [step.stage.name for step in planned]
    assert steps.index("translator") < steps.index("pivot") < steps.index("evaluate", steps.index("pivot"))
    as_text = plan("[base, ml-sft]", "evaluation.competitors=[pivot_context]")
    assert pivots(as_text) == {"base": True, "ml-sft": True}
    assert pivots(plan("[ml-sft, cc-tuning]", "evaluation.competitors=[context]")) == {
        "ml-sft": False,
        "cc-tuning": False,
    }


def test_another_beam_of_the_translator_makes_the_pivots_and_their_evaluation_again() -> None:
    runs, asked = "[cc-tuning]", "evaluation.competitors=[pivot]"
    (before,), (after,) = plan(runs, asked).runs, plan(runs, asked, "translation.beams=2").runs
    assert before.pivot and after.pivot
    assert isinstance(after.pivot.config, PivotConfig)
    assert after.pivot.config.translation.beams == 2
    assert before.pivot.fingerprint != after.pivot.fingerprint
    assert before.evaluate.fingerprint != after.evaluate.fingerprint


def test_a_run_with_english_in_its_prompts_has_its_own_rows_and_is_asked_in_context() -> None:
    planned = plan("[ml-sft, context]")
    plain, context = planned.runs
    assert labels(planned, "materialize") == ["materialize plain", "materialize plain-context"]
    assert plain.data == context.data  # the pairs are the same
    assert materialize(context.recipe, context.spec).english == "context"
    config = evaluate(context.recipe, context.spec, "context")
    assert config.evaluation.competitors == ("context",)
    assert evaluate(plain.recipe, plain.spec, "ml-sft").evaluation.competitors == ()
    assert isinstance(context.evaluate.config, RunEvaluation)
    asked = plan("[context]", "evaluation.competitors=[pivot_context, context]").runs[0].evaluate.config
    assert isinstance(asked, RunEvaluation)
    assert asked.evaluation.competitors == ("pivot_context", "context")


def test_asking_for_a_competitor_trains_nothing_again() -> None:
    before = fingerprints(plan("[ml-sft, cc-tuning]"))
    after = fingerprints(plan("[ml-sft, cc-tuning]", "evaluation.competitors=[context, pivot]"))
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {"evaluate ml-sft", "evaluate cc-tuning", "report"}
    assert set(after) - set(before) == {"pivot"}


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ("[{name: a, like: cc-tuning, english: context}]", "does not go with `connected: true`"),
        ("[{name: a, like: clo, english: context}]", "does not go with `data: preference`"),
        ("[{name: a, like: base, english: context}]", "leave out `data`, `english` and `connected`"),
    ],
)
def test_english_in_a_prompt_is_refused_where_it_would_mean_nothing(runs: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        plan(runs)


def test_a_competitor_is_known_and_stands_once() -> None:
    with pytest.raises(ValueError, match="a name stands twice in competitors"):
        EvaluationConfig(competitors=("pivot", "pivot"))
    with pytest.raises(ConfigError, match="competitors"):
        plan("[ml-sft]", "evaluation.competitors=[parallel]")


def test_the_context_run_is_ml_sft_but_for_its_prompts() -> None:
    (context,) = read_runs(["context"])
    changes = {"name": "ml-sft", "label": "ML-SFT", "english": "none", "baseline": "base"}
    assert context.model_copy(update=changes) == KNOWN_RUNS["ml-sft"]
