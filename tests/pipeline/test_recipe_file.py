"""Recipes that are not meant well: one short line each, before anything else looks at them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.recipe_file import read_yaml

SMALLEST = Path(__file__).resolve().parents[1] / "flows" / "smallest.yaml"


def billion_laughs() -> str:
    lines = ['a: &a ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]']
    for one, two in zip("abcdef", "bcdefg", strict=True):
        lines.append(f"{two}: &{two} [" + ",".join([f"*{one}"] * 9) + "]")
    return "\n".join([*lines, "name: bomb", "model: {base: miniature}", "data: {source: *g}"])


def short(error: BaseException) -> str:
    text = str(error)
    assert len(text) < 700 and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 5_000 + "]" * 5_000, "nested beyond 32 levels"),
        ("a: " + "[" * 40 + "]" * 40, "nested beyond 32 levels"),
        ("a: &a [*a]", "nested beyond 32 levels"),
        (billion_laughs(), "stands for more than 100,000 values"),
        ("training: {epochs: 1}\ntraining: {epochs: 9}", "'training' stands twice, in lines 1 and 2"),
        ("training:\n  epochs: 1\n  epochs: 2", "'epochs' stands twice, in lines 2 and 3"),
        ("training: {seed: 99999999999999999999}", "training.seed is a number of 67 bits"),
        ("training: {learning_rate: .nan}", "training.learning_rate is nan, expected a finite number"),
        ("training: {learning_rate: .inf}", "training.learning_rate is inf"),
        ('model: {base: "a\\0b"}', "model.base holds a character that no text has"),
        ('model: {base: "\\ud800"}', "model.base holds a character that no text has"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("name: x\nmodel: {base: miniature}\nruns: " + str(["x" * 100_000]), "unknown run"),
        ("name: x\nmodel: {base: miniature}\n" + "\n".join(f"key{n}: 1" for n in range(500)), "and 480 more"),
    ],
)
def test_a_text_that_no_recipe_is(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_recipe(path)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 10_000 and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "it is a FIFO, expected a file"),
        (Path.mkdir, "it is a folder, expected a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, expected a file"),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40), "expected a recipe of at most"),
    ],
)
def test_a_file_that_is_none_is_not_read(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError) as refused:
        load_recipe(tmp_path / "recipe.yaml")
    assert message in short(refused.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.seed=99999999999999999999", "a number of 67 bits"),
        ("evaluation.bootstrap_samples=100000000000", "less than or equal to 1000000"),
        ("execution.store=", "execution.store: is empty"),
        ("execution.output=", "execution.output: is empty"),
        ("model.base=/dev/zero", "/dev/zero is a device, expected a file or a folder"),
        ("data.source=/dev/zero", "/dev/zero is a device, expected a file or a folder"),
        ("evaluation.items=/dev/zero", "/dev/zero is a device, expected a file or a folder"),
        (f"model.base={'a' * 5_000}", "(5000 characters) does not exist"),
        (f"model.base=a/{'a' * 5_000}", "pin the commit"),
        ("training={epochs: 1, epochs: 2}", "'epochs' stands twice"),
        ("training=" + "[" * 5_000, "nested beyond"),
    ],
)
def test_an_impossible_value_is_refused_before_anything_runs(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_recipe(load_recipe(SMALLEST, [override]))
    text = str(refused.value)
    assert message in text or ("characters) does not exist" in message and "does not exist" in text)
    assert "\n" not in text


def test_aliases_and_merges_are_read_as_yaml_has_them() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a"
    assert read_yaml(text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
