"""The parallel pairs of a recipe as a data set that others load: `load_dataset(DIR)`, TRL, LLaMA-Factory.

    DIR/README.md                                   the card, with what `datasets` needs to know in front
    DIR/data/train-00000-of-0000N.parquet           `pairs`: the columns of ParallelPair
    DIR/messages/train-00000-of-0000N.parquet       `messages`: the same rows as conversations
    DIR/dataset_info.json                           what LLaMA-Factory asks for
    DIR/export.json                                 from which artifacts, and the sha256 of every file

The folder is written under a temporary name and takes its own when it is whole. Equal pairs give equal bytes. What a
folder holds beside an untouched export is never removed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cc_tuning.document.blocks import Document, Listing, Section
from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.plan import DataPlan, Plan, RunPlan
from cc_tuning.pipeline.recipe import MINIATURE, is_hub_id
from cc_tuning.report.data_card.card import card_document
from cc_tuning.report.data_card.hub_card import UNKNOWN_LICENCE, HubConfiguration, hub_card
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Step
from cc_tuning.text.languages import by_flores_code
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, sha256_of_file, write_json
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ParallelPair
from data_contracts.store import ArtifactStore

SHARD_ROWS = 100_000
_RECORD, _CARD, _LLAMA_FACTORY = "export.json", "README.md", "dataset_info.json"
_MAKER = "cc-tuning export-dataset"

_TEXT = pa.string()
_CONVERSATION = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))
_OF_THE_CHECKS = {"origin": _TEXT, "quality": pa.float64(), "flags": pa.list_(_TEXT)}
_PAIRS_SCHEMA = pa.schema(
    dict.fromkeys(ParallelPair.column_names(), _TEXT) | _OF_THE_CHECKS  # in the contract's order
)
_MESSAGES_SCHEMA = pa.schema(
    {"pair_id": _TEXT, "language_code": _TEXT, "messages": _CONVERSATION, "english_messages": _CONVERSATION}
    | _OF_THE_CHECKS
)

# As the cards of these repositories say.
_LICENCES = {
    MINIATURE: "apache-2.0",  # made by this program
    "CohereLabs/aya_dataset": "apache-2.0",
    "CohereForAI/aya_dataset": "apache-2.0",
    "facebook/nllb-200-3.3B": "cc-by-nc-4.0",
    "facebook/nllb-200-1.3B": "cc-by-nc-4.0",
    "facebook/nllb-200-distilled-1.3B": "cc-by-nc-4.0",
    "facebook/nllb-200-distilled-600M": "cc-by-nc-4.0",
    "facebook/m2m100_418M": "mit",
    "facebook/m2m100_1.2B": "mit",
}


@dataclass(frozen=True)
class DatasetExport:
    """What to export, of which run, and how."""

    run: RunPlan
    """Its pairs; runs on the same pairs give the same export but for the card."""
    data: DataPlan
    needed: tuple[Step, ...]
    """The steps that must be finished, inputs first."""
    folder: Path
    licence: str = ""
    """Of the source's rows, as the hub writes it; empty: what is known of the source."""
    shard_rows: int = SHARD_ROWS

    @classmethod
    def of(cls, plan: Plan, folder: Path, run: str | None, licence: str, shard_rows: int) -> "DatasetExport":
        """The export of a run of `plan`, or of the first one that has pairs.

        Raises:
            ConfigError: there is no such run, or it has no pairs; or the folder is not one that may be written.
        """
        runs = [one for one in (plan.runs if run is None else plan.of_run(run)) if one.data]
        if not runs or runs[0].data is None:
            asked = f"run {run!r}" if run else "no run"
            raise ConfigError(
                f"{asked} of the recipe {plan.recipe.name} is trained on pairs, so there are none to export"
            )
        _check_folder(folder)
        needed = plan.up_to("translate", runs[0].name)
        return cls(runs[0], runs[0].data, needed, folder.absolute(), licence, shard_rows)


def export_dataset(export: DatasetExport, store: ArtifactStore) -> int:
    """Write the data set to `export.folder`, unless it is there already; returns the number of pairs.

    Raises:
        ConfigError: the folder holds what no export wrote, or cannot be written.
        ArtifactMismatch: an artifact is missing or damaged.
    """
    _check_folder(export.folder)
    source = {step.stage.name: step.ref.identity for step in (export.data.select, export.data.translate)}
    pairs = read_parquet(store.path(export.data.translate.ref) / PAIRS, ParallelPair).with_columns(
        pl.col("origin").cast(pl.String)
    )
    partial = export.folder.with_name(f".{export.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{export.folder} cannot be written: {error}; name a folder in a place of yours") from error
    configurations = [
        _write_shards(pairs, _PAIRS_SCHEMA, partial, "pairs", "data", export.shard_rows),
        _write_shards(_as_conversations(pairs), _MESSAGES_SCHEMA, partial, "messages", "messages", export.shard_rows),
    ]
    write_json(partial / _LLAMA_FACTORY, _for_llama_factory())
    licences = _licences(export, pairs)
    languages = ["en", *map(_hub_language, pairs["flores_code"].unique())]
    card = hub_card(_document(export, store, licences), configurations, languages, licences.values())
    (partial / _CARD).write_text(card, encoding="utf-8", newline="\n")
    files = {path.relative_to(partial).as_posix(): sha256_of_file(path) for path in _files_below(partial)}
    write_json(partial / _RECORD, {"made_by": _MAKER, "artifacts": source, "rows": pairs.height, "files": files})
    shutil.rmtree(export.folder, ignore_errors=True)
    partial.replace(export.folder)
    return pairs.height


# -- files


def _write_shards(
    frame: pl.DataFrame, schema: pa.Schema, folder: Path, name: str, directory: str, shard_rows: int
) -> HubConfiguration:
    """Write `frame` as `directory/train-*.parquet` and say what is there."""
    table = frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
    shards = max(1, -(-table.num_rows // shard_rows))
    (folder / directory).mkdir()
    for shard in range(shards):
        path = folder / directory / f"train-{shard:05}-of-{shards:05}.parquet"
        pq.write_table(table.slice(shard * shard_rows, shard_rows), path, compression="zstd", write_page_checksum=True)
    size = sum(path.stat().st_size for path in (folder / directory).iterdir())
    return HubConfiguration(name, f"{directory}/train-*.parquet", schema, table.num_rows, table.nbytes, size)


def _as_conversations(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with a conversation of one turn in the language, and the same one in English."""
    return pairs.with_columns(
        messages=_conversation("inputs", "targets"), english_messages=_conversation("inputs_en", "targets_en")
    )


def _conversation(prompt: str, response: str) -> pl.Expr:
    turns = (("user", prompt), ("assistant", response))
    return pl.concat_list(pl.struct(role=pl.lit(role), content=pl.col(column)) for role, column in turns)


def _for_llama_factory() -> dict[str, object]:
    """Its description of the conversations, for `dataset_dir: DIR`."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {
        name: {"file_name": "messages", "formatting": "sharegpt", "columns": {"messages": column}, "tags": tags}
        for name, column in {"cc_tuning": "messages", "cc_tuning_english": "english_messages"}.items()
    }


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _check_folder(folder: Path) -> None:
    """Let a folder pass that is not there, is empty, or holds an export as it was written.

    Raises:
        ConfigError: it holds something else, which would be lost, or it cannot be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder} is not a folder; choose a name that is free")
    above = next(place for place in folder.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written, since {above} is no folder of yours; choose another place")
    there = {path.relative_to(folder).as_posix(): path for path in _files_below(folder)}
    if not there:
        return
    try:
        record = read_json(folder / _RECORD)
        written = dict(record["files"]) if record["made_by"] == _MAKER else {}
    except (ArtifactMismatch, KeyError, TypeError, ValueError):
        written = {}
    others = [name for name, path in there.items() if name != _RECORD and written.get(name) != sha256_of_file(path)]
    if not written or others:
        raise ConfigError(
            f"{folder} holds {len(others)} files that no export wrote or that were changed since, first {others[:3]}; "
            "they would be lost. Choose another folder, or move them away"
        )


# -- the card


def _hub_language(flores_code: str) -> str:
    """ISO 639-1 where a language has one, else ISO 639-3."""
    language = by_flores_code(flores_code)
    return language.iso639_1 or flores_code.partition("_")[0]


def _licences(export: DatasetExport, pairs: pl.DataFrame) -> dict[str, str]:
    """Whose licences matter, and which they are; that of a translator where it wrote some of the pairs."""
    recipe = export.run.recipe
    source, model = recipe.data.source, recipe.translation.model
    licences = {_public_name(source): export.licence or _LICENCES.get(source, UNKNOWN_LICENCE)}
    if (pairs["origin"] == "translated").any():
        licences.setdefault(_public_name(model), _LICENCES.get(model, UNKNOWN_LICENCE))
    return licences


def _document(export: DatasetExport, store: ArtifactStore, licences: dict[str, str]) -> Document:
    """The data card, with what somebody needs who finds it without the recipe."""
    recipe, data = export.run.recipe, export.data
    inputs = {"select": data.select, "translate": data.translate}
    locations = {name: Location(str(store.path(step.ref))) for name, step in inputs.items()}
    facts = [
        ("recipe", recipe.name),
        ("source", _pinned(recipe.data.source, recipe.data.revision)),
        ("translator", _pinned(recipe.translation.model, recipe.translation.revision)),
        *((name, step.fingerprint) for name, step in inputs.items()),
        ("made by", f"cc-tuning, commit {store.manifest(data.translate.ref).commit}"),
    ]
    card = card_document(recipe.name, facts, locations)
    return replace(card, sections=[_loading(), _making(export, licences), *card.sections])


def _pinned(place: str, revision: str) -> str:
    return f"{_public_name(place)} at {revision}" if revision else _public_name(place)


def _public_name(place: str) -> str:
    """A hub id as it is, of a path on this machine its last part only."""
    return place if is_hub_id(place) else Path(place).name


def _loading() -> Section:
    code = (
        "from datasets import load_dataset\n\n"
        'pairs = load_dataset("DIR", split="train")  # inputs, targets, inputs_en, targets_en, quality, flags\n'
        'chats = load_dataset("DIR", "messages", split="train")  # messages and english_messages, as TRL takes them\n'
    )
    sentence = (
        "Two configurations hold the same rows: pairs, and messages with each pair as a conversation in its language "
        "and one in English. LLaMA-Factory reads the second with dataset_dir: DIR and dataset: cc_tuning."
    )
    return Section("loading", "Loading", [sentence], [Listing("In Python", code, "python")])


def _making(export: DatasetExport, licences: dict[str, str]) -> Section:
    recipe = export.run.recipe
    sections, places = {"data": recipe.data, "translation": recipe.translation}, {"source", "model", "revision"}
    settings = {
        name: section.model_dump(mode="json", exclude_defaults=True, exclude=places)
        for name, section in sections.items()
    }
    paragraphs = [
        "Rows were chosen from the source, and each was put beside its English version: its own text, an English text "
        "that came with the source, or a translation by machine (the column origin). No row was left out for its "
        f"quality; the recipe trains on pairs with a quality of at least {recipe.data.min_quality:g}.",
        f"Licences: {'; '.join(f'{place}: {licence}' for place, licence in licences.items())}. The licence of a "
        "translator is that of its weights; whether it binds what they wrote is for you to judge.",
    ]
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    return Section(
        "making", "How it was made", paragraphs, [Listing("Keys of the recipe that are no defaults", text, "json")]
    )
