"""Whatever is broken about models, templates, tokenizers, rows, items and recipes is named before the work."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.preflight import Finding
from flows.cli import app
from tests.pipeline.breaking import Variant
from tests.pipeline.broken_inputs import of_items, of_recipes, of_rows
from tests.pipeline.broken_models import of_configs, of_generation, of_weights
from tests.pipeline.broken_tokenizers import of_templates, of_tokenizers
from tests.pipeline.test_preflight import findings, project

VARIANTS = tuple(
    chain(
        of_configs(),
        of_generation(),
        of_weights(),
        of_templates(),
        of_tokenizers(),
        of_rows(),
        of_items(),
        of_recipes(),
    )
)
__all__ = ["project"]  # a fixture


def found_in(folder: Path) -> tuple[Finding, ...]:
    """The findings; of a recipe that cannot be read, what it is refused with."""
    try:
        return findings(folder)
    except ConfigError as error:
        return (Finding("", str(error)),)


def test_there_are_two_hundred_variants_of_seven_kinds() -> None:
    assert len(VARIANTS) >= 200
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert {"model.base", "data.source", "evaluation.items"} <= Counter(variant.key for variant in VARIANTS).keys()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_broken_variant_is_named_under_its_key_and_nothing_is_made(project: Path, variant: Variant) -> None:
    variant.harm(project, random.Random(variant.name))
    found = found_in(project)
    named = [
        each
        for each in found
        if each.where == variant.key or (not each.where and variant.key.split(".")[0] in each.what)
    ]
    assert named, [str(each) for each in found]
    assert all(each.what.strip() and "Traceback" not in each.what for each in found)
    assert not (project / "store").exists()


@pytest.mark.parametrize("kind", ["a model", "rows", "items"])
def test_a_broken_project_is_one_message_of_check_and_of_train(project: Path, kind: str) -> None:
    """The same from the terminal: exit code 2, no traceback, nothing trained."""
    names: Mapping[str, str] = {
        "a model": "weights are cut", "rows": "targets is null", "items": "items have no answers",
    }  # fmt: skip
    variant = next(each for each in VARIANTS if each.name == names[kind])
    variant.harm(project, random.Random(0))
    check: Callable[..., object] = CliRunner().invoke(app, ["check", str(project / "recipe.yaml")])
    assert (check.exit_code, check.output.startswith(f"- {variant.key}: ")) == (2, True)
    stage = "evaluate" if kind == "items" else "train"
    made = CliRunner().invoke(app, [stage, str(project / "recipe.yaml"), "--run", "ml-sft"])
    assert isinstance(made.exception, ConfigError)
    assert not (project / "store").exists()
