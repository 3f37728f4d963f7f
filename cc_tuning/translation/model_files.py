"""A translation model from a directory or the hub: which family it is of, and whether it is whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, M2M100ForConditionalGeneration
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import cached_file

from cc_tuning.errors import CcTuningError, ConfigError, TranslationFailed, in_one_line
from cc_tuning.runtime.pretrained import refusing_remote_code, require_finite, require_sound_weights
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH, Language
from cc_tuning.translation.translator_families import FAMILIES, Family

_MODEL_TYPE = "m2m_100"
_TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True)
class TranslationModel:
    """A whole model, on the CPU, and the tokenizer it was trained with."""

    model: Any  # M2M100ForConditionalGeneration; transformers' types hide its methods behind decorators.
    family: Family


def load_family(location: Location) -> Family:
    """The tokenizer of the model in a directory, or of the hub at a pinned revision: what planning needs of it.

    Raises:
        TranslationFailed: it is no model of a known family with its tokenizer, or cannot be fetched.
    """
    if location.is_local:
        _check_directory(location.path)
    place = _place(location)
    with _loading(location):
        model_type = AutoConfig.from_pretrained(**place, trust_remote_code=False).model_type
        if model_type != _MODEL_TYPE:
            raise TranslationFailed(
                f"{location.name} is a model of type {model_type!r}, expected {_MODEL_TYPE!r} (the NLLB and M2M100 "
                "families); set `translation.model` to such a model"
            )
        kind = _family(location, place)
        if location.is_local:
            _check_tokenizer_files(location.path, kind)
        return kind(kind.tokenizer_class.from_pretrained(**place, trust_remote_code=False))  # type: ignore[attr-defined]


def check_knows(family: Family, target: Language, name: str) -> None:
    """Refuse a translator that cannot write a language.

    Raises:
        ConfigError: names the language.
    """
    if not family.knows(target):
        raise ConfigError(
            f"the translator {name} has no token for {target.name} ({target.flores_code}), the language of "
            "`translation.target`; NLLB has all of the table's, M2M100 lacks six: take another `translation.model`"
        )


def load_model(location: Location, dtype: str) -> TranslationModel:
    """The model in a directory, or of the hub at a pinned revision.

    Raises:
        TranslationFailed: it is not a whole model of a known family with its tokenizer, or cannot be fetched.
    """
    family = load_family(location)
    if location.is_local:
        require_sound_weights(location.path)
    with _loading(location):
        loaded: Any = M2M100ForConditionalGeneration.from_pretrained(
            **_place(location),
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    model, loading = loaded
    _check_fit(location.name, family, model, loading["missing_keys"])
    require_finite(model.named_parameters(), location.name)
    return TranslationModel(model, family)


def _place(location: Location) -> dict[str, Any]:
    return {"pretrained_model_name_or_path": location.name, "revision": location.revision or "main"}


@contextmanager
def _loading(location: Location) -> Iterator[None]:
    try:
        with refusing_remote_code(location.name, TranslationFailed):
            yield
    except CcTuningError:
        raise
    except Exception as error:  # of files that somebody wrote by hand, transformers raises any
        reason = in_one_line(str(error), 1_000)
        raise TranslationFailed(
            f"translator {location.name} cannot be loaded: {reason}; it needs config.json, a tokenizer and whole "
            "safetensors weights (some hub models have them only at another revision)"
        ) from error


def _family(location: Location, place: dict[str, Any]) -> type[Family]:
    """The family by the class that `tokenizer_config.json` names or, where it names none, by the tokenizer's files."""
    named = str(get_tokenizer_config(**place).get("tokenizer_class") or "")
    if named:
        of_class = {family.tokenizer_class.__name__: family for family in FAMILIES}
        if (found := of_class.get(named.removesuffix("Fast"))) is not None:
            return found
        raise TranslationFailed(
            f"translator {location.name}: its tokenizer is a {named!r} ({_TOKENIZER_CONFIG}), expected "
            f"{' or '.join(of_class)}; set `translation.model` to a model of the NLLB or M2M100 family"
        )
    # NLLB's sentencepiece file is called like M2M100's; the vocabulary beside it is M2M100's alone.
    for family in reversed(FAMILIES):
        if all(any(_has_file(place, name) for name in group) for group in family.tokenizer_files):
            return family
    expected = "; ".join(f"{family.name} has {_tokenizer_files(family)}" for family in FAMILIES)
    raise TranslationFailed(
        f"translator {location.name} lacks a tokenizer: {_TOKENIZER_CONFIG} names no class, and its files are of no "
        f"known family ({expected}). Save the tokenizer there with `save_pretrained`"
    )


def _has_file(place: dict[str, Any], name: str) -> bool:
    found = cached_file(
        place["pretrained_model_name_or_path"], name, revision=place["revision"],
        _raise_exceptions_for_missing_entries=False,
    )  # fmt: skip
    return found is not None


def _check_directory(folder: Path) -> None:
    if not folder.is_dir():
        raise TranslationFailed(f"translator {folder} is not a directory; set `translation.model` to a model directory")
    found = _file_names(folder)
    needed = {
        "config.json": "config.json" in found,
        "*.safetensors": any(name.endswith(".safetensors") for name in found),
    }
    _check_all_there(folder, [name for name, is_there in needed.items() if not is_there])


def _check_tokenizer_files(folder: Path, family: type[Family]) -> None:
    found = _file_names(folder)
    groups = (group for group in family.tokenizer_files if not any(name in found for name in group))
    _check_all_there(folder, [" or ".join(group) for group in groups])


def _check_all_there(folder: Path, missing: list[str]) -> None:
    if missing:
        raise TranslationFailed(
            f"translator {folder} lacks {', '.join(missing)}; found {', '.join(_file_names(folder)) or 'nothing'}. "
            "Save model and tokenizer there with `save_pretrained`"
        )


def _file_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _tokenizer_files(family: type[Family]) -> str:
    return " and ".join(" or ".join(group) for group in family.tokenizer_files)


def _check_fit(name: str, family: Family, model: Any, missing: set[str]) -> None:
    if missing:
        raise TranslationFailed(
            f"translator {name}: the weights lack {len(missing)} tensors, first {sorted(missing)[:3]}; "
            "they would be random. Download or save the model again"
        )
    if not family.knows(ENGLISH):
        raise TranslationFailed(f"translator {name}: the tokenizer has no token {family.code(ENGLISH)}, so no English")
    if family.size > model.config.vocab_size:
        raise TranslationFailed(
            f"translator {name}: the tokenizer has {family.size} tokens and the model {model.config.vocab_size}; "
            "they do not belong together"
        )
