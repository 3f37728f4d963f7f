"""The tokenizer of a model of the NLLB family: all that planning and joining need, without the model's weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, NllbTokenizer

from cc_tuning.errors import TranslationFailed
from cc_tuning.languages import Language
from cc_tuning.step import Location

_TOKENIZER_FILES = ("tokenizer.json", "sentencepiece.bpe.model")


class NllbVocabulary:
    """A `Vocabulary` on NLLB's tokenizer."""

    def __init__(self, tokenizer: NllbTokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of(cls, location: Location) -> "NllbVocabulary":
        """The vocabulary of a translator in a directory, or of the hub at a pinned revision.

        Raises:
            TranslationFailed: it is not a model of the NLLB family with its tokenizer, or cannot be fetched.
        """
        return cls(load_tokenizer(location))

    def knows(self, language: Language) -> bool:
        """Whether the tokenizer has a token for this language."""
        return has_token(self._tokenizer, language.flores_code)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without language and end tokens."""
        return [len(ids) for ids in self._encode(texts, add_special_tokens=False)] if texts else []

    def _encode(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        # Without `split_special_tokens` a "</s>" or "eng_Latn" that a user typed would become the control token.
        encoded = self._tokenizer(list(texts), add_special_tokens=add_special_tokens, split_special_tokens=True)
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def load_tokenizer(location: Location) -> NllbTokenizer:
    """The tokenizer at `location`, once it is sure that a model of the family is there.

    Raises:
        TranslationFailed: it is not, or cannot be fetched.
    """
    if location.is_local:
        _check_directory(location.path)
    with loading_of(location.name):
        model_type = AutoConfig.from_pretrained(**place_of(location)).model_type
        if model_type != "m2m_100":
            raise TranslationFailed(
                f"{location.name} is a model of type {model_type!r}, expected 'm2m_100' (the NLLB family); "
                "set `translation.model` to an NLLB model"
            )
        return NllbTokenizer.from_pretrained(**place_of(location))


def place_of(location: Location) -> dict[str, Any]:
    """The arguments of every `from_pretrained`."""
    return {"pretrained_model_name_or_path": location.name, "revision": location.revision or "main"}


@contextmanager
def loading_of(name: str) -> Iterator[None]:
    """Inside, whatever transformers raises says which translator could not be loaded.

    Raises:
        TranslationFailed: anything was raised.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise TranslationFailed(
            f"translator {name} cannot be loaded: {error}; it needs config.json, a tokenizer and whole "
            "safetensors weights (some hub models have them only at another revision)"
        ) from error


def has_token(tokenizer: NllbTokenizer, token: str) -> bool:
    """Whether `token` is in the vocabulary."""
    return bool(tokenizer.convert_tokens_to_ids(token) != tokenizer.unk_token_id)


def _check_directory(folder: Path) -> None:
    if not folder.is_dir():
        raise TranslationFailed(f"translator {folder} is not a directory; set `translation.model` to a model directory")
    found = sorted(file.name for file in folder.iterdir())
    needed = {
        "config.json": "config.json" in found,
        " or ".join(_TOKENIZER_FILES): any(name in found for name in _TOKENIZER_FILES),
        "*.safetensors": any(name.endswith(".safetensors") for name in found),
    }
    missing = [name for name, is_there in needed.items() if not is_there]
    if missing:
        raise TranslationFailed(
            f"translator {folder} lacks {', '.join(missing)}; found {', '.join(found) or 'nothing'}. "
            "Save model and tokenizer there with `save_pretrained`"
        )
