"""Broken rows, items and recipes, made by rule."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from tests.pipeline.breaking import Harm, Variant, cut, removed, written

ROW = {
    "inputs": "swali",
    "targets": "jibu",
    "language_code": "swh",
    "inputs_en": "a question",
    "targets_en": "an answer",
}


def _rows(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def of_rows() -> Iterator[Variant]:
    """Files of rows: damaged, of other columns, of values that are no text, or none."""
    file = "rows.jsonl"
    good = _rows([ROW] * 3)
    for name, content in {
        "empty": "", "blank lines": "\n\n\n", "a number": "7\n", "a list of numbers": "[1, 2, 3]", "null": "null\n",
        "an open array": '[{"inputs": "x"', "half a line": good[:30], "no JSON": "inputs,targets\na,b\n",
        "a parquet file": b"PAR1" + bytes(80) + b"PAR1",
        "zeros": bytes(100),
    }.items():  # fmt: skip
        yield Variant(f"rows are {name}", "data.source", written(file, content))
    for column in ("inputs", "targets", "language_code"):
        without = {key: value for key, value in ROW.items() if key != column}
        yield Variant(f"rows have no {column}", "data.source", written(file, _rows([without] * 3)))
        for name, value in {
            "null": None,
            "a number": 7,
            "a list": ["x"],
            "an object": {"text": "x"},
            "blank": " ",
            "true": True,
        }.items():
            yield Variant(f"{column} is {name}", "data.source", written(file, _rows([ROW | {column: value}] * 3)))
    for name, value in {"an unknown code": "klingon", "a name": "Swahili!", "a typo": "swhh"}.items():
        yield Variant(
            f"language_code is {name}", "data.source", written(file, _rows([ROW | {"language_code": value}] * 3))
        )


def _items(**changes: Any) -> Harm:
    def harm(project: Path, _draw: random.Random) -> None:
        path = project / "items" / "mkqa.parquet"
        row = {**pl.read_parquet(path).row(0, named=True), **changes}
        pl.DataFrame([row]).write_parquet(path)

    return harm


def _without_item_column(column: str) -> Harm:
    def harm(project: Path, _draw: random.Random) -> None:
        path = project / "items" / "mkqa.parquet"
        pl.read_parquet(path).drop(column).write_parquet(path)

    return harm


def of_items() -> Iterator[Variant]:
    """Item files: damaged, of other columns, or such that no response can be right."""
    file = "items/mkqa.parquet"
    yield Variant("items are cut", "evaluation.items", cut(file))
    yield Variant("items are absent", "evaluation.items", removed(file))
    for name, content in {"empty": b"", "text": b"item_id,prompt\n", "zeros": bytes(100)}.items():
        yield Variant(f"items are {name}", "evaluation.items", written(file, content))
    for column in ("item_id", "benchmark", "language", "prompt", "answers", "choices_kind"):
        yield Variant(f"items have no {column}", "evaluation.items", _without_item_column(column))
        for name, value in {"null": None, "a number": 7, "an object": {"text": "x"}, "blank": " "}.items():
            is_text = (name == "blank" and column == "item_id") or (
                name == "a number" and column in ("item_id", "prompt")
            )
            if not is_text:
                yield Variant(f"{column} of items is {name}", "evaluation.items", _items(**{column: value}))
    for name, changes in {
        "answers that are none": {"answers": []}, "blank answers": {"answers": [" "]},
        "an unknown benchmark": {"benchmark": "MMLU-XXL"},
        "a kind that is not the benchmark's": {"choices_kind": "option"},
        "another benchmark than is asked for": {"benchmark": "XQuAD", "choices_kind": BENCHMARKS["XQuAD"].choices_kind},
    }.items():  # fmt: skip
        yield Variant(f"items have {name}", "evaluation.items", _items(**changes))


def _recipe(**changes: Any) -> Harm:
    """Sections of the recipe with some keys changed; a key of None's name is removed."""

    def harm(project: Path, _draw: random.Random) -> None:
        recipe = json.loads((project / "recipe.yaml").read_text())
        for section, value in changes.items():
            both = isinstance(value, dict) and isinstance(recipe.get(section), dict)
            recipe[section] = recipe[section] | value if both else value
        (project / "recipe.yaml").write_text(json.dumps(recipe))

    return harm


def of_recipes() -> Iterator[Variant]:
    """Recipes: no YAML, of unknown keys and values, or of places that are not there."""
    for name, content in {
        "empty": "", "a word": "quickstart", "a list": "- name\n", "no YAML": "name: [", "no UTF-8": b"\xff\xfe{",
        "holding itself": "name: &a [*a]\nmodel: *a\n", "tagged with code": "!!python/object/apply:os.getcwd []\n",
    }.items():  # fmt: skip
        yield Variant(f"the recipe is {name}", "recipe.yaml", written("recipe.yaml", content))
    for section, value in {
        "name": "Not A Name", "runs": "ml-sft", "model": None, "data": 7, "training": [], "seeds": [1, 1],
        "trainin": {"epochs": 1},
    }.items():  # fmt: skip
        yield Variant(f"the recipe's {section} is {value!r}", section, _recipe(**{section: value}))
    for runs in (
        [],
        [None],
        [7],
        ["ml-sft", "ml-sft"],
        ["of mine"],
        [{"name": "x", "like": "y"}],
        [{"like": "ml-sft"}],
    ):
        yield Variant(f"the runs are {runs!r}", "run", _recipe(runs=runs))
    for key, value in {
        "training.epochs": "many", "training.learning_rate": -1, "training.dtype": "int3", "data.rows": 0,
        "data.source": "nowhere/rows.jsonl", "data.decontamination": "some", "data.min_quality": 2,
        "evaluation.benchmarks": ["Nothing"], "evaluation.items": "nowhere",
        "model.base": "./nowhere", "model.revisio": "abc", "translation.beams": 0, "connection.selector": "best",
        "transform.pairs": 0, "execution.report_to": ["nobody"], "execution.device": "tpu",
        "materialization.chat_template": "llama9", "materialization.cutoff_tokens": -3,
    }.items():  # fmt: skip
        section, _, name = key.partition(".")
        yield Variant(f"{key} is {value!r}", key, _recipe(**{section: {name: value}}))
    asked = _recipe(evaluation={"languages": ["xx"]})
    yield Variant("no item is in the languages asked for", "evaluation.items", asked)
