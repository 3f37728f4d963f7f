"""A transformers model in CTranslate2's format, in a folder that is gone when the model has been read.

Both sides keep talking in token ids: the converted vocabulary is the ids themselves, in decimal. Names of tokens, which
families write in their own ways and a converter has to guess in part, play no role.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import M2M100Loader
from ctranslate2.specs.model_spec import ModelSpec

from cc_tuning.errors import TranslationFailed
from cc_tuning.translation.model_files import TranslationModel

_FIRST_POSITION = 2
"""CTranslate2 takes the positions after the padding token's, which is 1 in both families."""


@contextmanager
def converted_model(loaded: TranslationModel, dtype: str) -> Iterator[Path]:
    """A folder with the model in `dtype`; it is removed on leaving, and nothing else reads it before it is whole.

    Raises:
        TranslationFailed: the model has what CTranslate2's format has no place for, or the folder cannot be written.
    """
    padding = loaded.model.config.pad_token_id
    if padding != _FIRST_POSITION - 1:
        raise TranslationFailed(
            f"the translator's padding token is {padding}, and CTranslate2 counts positions from padding token "
            f"{_FIRST_POSITION - 1}; set `translation.engine` to transformers"
        )
    with tempfile.TemporaryDirectory(prefix="cc-tuning-ctranslate2-") as folder:
        try:
            _Ids(loaded).convert(f"{folder}/model", quantization=dtype)
        except (OSError, NotImplementedError, KeyError, ValueError) as error:
            needed = sum(tensor.numel() * tensor.element_size() for tensor in loaded.model.parameters())
            raise TranslationFailed(
                f"the translator cannot be converted for CTranslate2 in {folder}: {error}; it needs {needed:,} bytes "
                "there (the environment variable TMPDIR chooses the place)"
            ) from error
        yield Path(folder, "model")


class _Ids(Converter):
    """The model's tensors under CTranslate2's names, and ids for tokens."""

    def __init__(self, loaded: TranslationModel) -> None:
        self._loaded = loaded

    def _load(self) -> ModelSpec:
        model, family = self._loaded.model, self._loaded.family
        spec = M2M100Loader().get_model_spec(model)
        ids = [str(token_id) for token_id in range(model.config.vocab_size)]
        spec.register_source_vocabulary(ids)
        spec.register_target_vocabulary(ids)
        spec.config.bos_token = str(family.begin_token_id)
        spec.config.eos_token = str(family.end_token_id)
        spec.config.unk_token = str(family.unknown_token_id)
        spec.config.decoder_start_token = str(model.config.decoder_start_token_id)
        return spec
