"""docs/recipe.md, made from the recipe's own fields, so that no key is described twice or forgotten."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.runs import RunSpec

_INTRODUCTION = """# The recipe

One YAML file says what to do. Unknown keys are refused with the nearest known key; `--set training.epochs=1` overrides
a key for one command. Defaults are the paper's values (Ye et al. 2025) where the paper gives one. What stands under
`execution` says where and how fast, and never changes a fingerprint; everything else does.

A place (`data.source`, `model.base`, `translation.model`, `evaluation.items`) is a path, a hub id with its pinned
revision, or `miniature`, the embedded default. Paths are relative to the folder the command runs in.

## Files

**Rows** (`data.source`): a file or a folder of shards with Aya's columns `inputs`, `targets`, `language`,
`language_code`, `annotation_type`, `user_id`; or with `inputs`, `targets`, `language_code`, `inputs_en`, `targets_en`,
and then the translator is not called for those rows.

| kind | how it is read |
|---|---|
| parquet, Arrow (also of `datasets.save_to_disk`) | batch by batch, page checksums verified |
| JSON Lines, or a JSON array | by what the file begins with, whatever it is called; an array is read as a whole |
| CSV | comma, semicolon, tab or bar, by its header |
| a folder, such as a hub snapshot | its shards by name; where names tell splits, the training split |

Text may be compressed (gzip, zstd, bzip2, xz) and in UTF-8, UTF-16 or UTF-32, with a byte order mark or without. Hidden
files are neither read nor part of the source's identity. A text that is null, NaN, blank or the word `nan` is missing;
numbers, lists and objects are no text. Columns of other names, and the layouts of Alpaca, ShareGPT, lists of messages
and OpenAssistant's trees, are told by `data.columns`:

```yaml
data:
  source: my/dump.json.gz
  columns: {layout: alpaca, language_code: swh}
  # columns: {names: {inputs: question, targets: answer, language_code: lang}}
  # columns: {layout: messages, names: {language_code: lang}}
  # columns: {layout: oasst}
```

**Items** (`evaluation.items`): `hub` makes them of the published data sets ([benchmarks.md](benchmarks.md)). Otherwise
a folder in the layout of the authors' release, or a folder of parquet files with the columns `benchmark`, `language`
(ISO 639-1), `item_id` (equal for the same item in every language), `prompt`, `prompt_en` (may be null), `answers` (list
of text), `choices_kind`, and optionally `choices` (the texts of the options), `group` and `cluster` (what several items
share).

## Runs

`runs` names rows of the paper's Table 1 (`ml-sft`, `cc-tuning`, each also with `+en`, `+mt` or `+sdrrl`), runs of Lee
et al. 2025 on both languages of each pair (`sft`, `sft-eng`, `sft-tgt`, `sft+dpo`, `clo`, and `clo+cc` with the
connection), `base` (the base model as it is, only evaluated), two of ours (`context`, ML-SFT that reads the English
version as text before the prompt; `cc-distil`, CC-Tuning that teaches the model what it says with the connection, for
use without), or spells runs of your own:

```yaml
runs:
  - base
  - ml-sft
  - cc-tuning
  - {name: cc-mean, like: cc-tuning, set: {connection.selector: mean}}
  - {name: cc-ridge, like: cc-tuning, set: {transform.ridge: 0.1}}   # shares the training of cc-tuning
  - {name: theirs, checkpoint: path/to/model}                        # trained elsewhere, evaluated like the others
seeds: [0, 1, 2]                                                     # each trained run once per seed
```

`like` starts from another run, `set` changes keys of the recipe for this run alone. Runs share every stage that their
keys do not touch. With `seeds`, a run `cc-tuning` becomes `cc-tuning-seed0` and so on; commands take either name, and
the report shows one row for all seeds, with their spread.

A run with `start: sft` begins with the checkpoint of the run `sft` (of the same seed), which is its reference model
too; the steps of `sft` are made whether the recipe names it or not. `clo` and `sft+dpo` keep the checkpoint with the
lowest validation loss, so they need held-out rows (`training.validation_fraction`).

<!-- The rest is made by `make docs` from the code. -->
"""
_PLAIN_TYPES = {
    "str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path",
    "NoneType": "null", "RunSpec": "runs", "MapConfig": "maps",
}  # fmt: skip


def recipe_reference() -> str:
    """The text of docs/recipe.md."""
    return "\n".join([_INTRODUCTION, *_sections(Recipe, ""), *_run_fields()]) + "\n"


def _run_fields() -> Iterator[str]:
    yield "## A run of your own\n"
    yield f"{_summary(RunSpec)} `like` names the run it starts from.\n"
    yield from _table(RunSpec.model_fields, "")


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    plain = {name: field for name, field in model.model_fields.items() if not _is_section(field)}
    if plain:
        yield f"## `{prefix.rstrip('.')}`\n" if prefix else "## At the top\n"
        yield f"{_summary(model)}\n"
        yield from _table(plain, prefix)
    for name, field in model.model_fields.items():
        if _is_section(field):
            assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            yield from _sections(field.annotation, f"{prefix}{name}.")


def _table(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for name, field in fields.items():
        yield f"| `{prefix}{name}` | {_type_text(field.annotation)} | {_default_text(field)} | {_cell(field)} |"
    yield ""


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _type_text(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_type_text(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "mapping"
    if get_origin(annotation) is Annotated:
        return _type_text(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return " or ".join(map(_type_text, get_args(annotation)))
    return _PLAIN_TYPES.get(getattr(annotation, "__name__", ""), str(annotation))


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default_factory is not None:
        return "none" if field.default_factory is dict else "this machine's"
    value = field.default
    if isinstance(value, tuple):
        value = ", ".join(item.name if isinstance(item, RunSpec) else str(item) for item in value)
    return f"`{value}`" if value not in ("", (), None) else "none"


def _cell(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(recipe_reference(), encoding="utf-8")
