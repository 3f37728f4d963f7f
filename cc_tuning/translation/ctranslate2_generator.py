"""The engine `ctranslate2`: the same models in C++, some times faster, with the same settings one by one.

| setting | here |
| --- | --- |
| `beams`, `length_penalty`, `no_repeat_ngram_size` | the options of these names |
| `max_new_tokens` | `max_decoding_length`, which counts the language token as transformers does |
| `max_length_ratio` | a second decoding, see `CTranslate2Generator.generate` |
| `dtype` | weights and `compute_type`; what the device cannot compute is refused, not replaced as CTranslate2 does |

The texts are those of the engine `transformers` wherever nothing is close: greedy decoding agreed on each of 5,200
segments in float32, beam search on each of 400 sentences that a trained model knew. Beams end by another
rule, though, so that of segments that a model does not know, and loops on, as few as 40 in 100 agree. Hence the engine
is part of a stage's identity.

The model is converted into a folder that is gone when it has been read. Both sides keep talking in token ids: the
converted vocabulary is the ids themselves, in decimal. Names of tokens, which families write in their own ways and a
converter has to guess in part, play no role.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ctranslate2
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import M2M100Loader
from ctranslate2.specs.model_spec import ModelSpec

from cc_tuning.errors import ConfigError, TranslationFailed
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.execution import Execution
from cc_tuning.translation.batching import token_limits
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.model_files import TranslationModel
from cc_tuning.translation.token_translator import BatchTooLarge, Search

_PATIENCE = 2.0
"""The search ends when twice as many answers as beams are whole. At the default, once as many, NLLB-200-3.3B loses 0.38
chrF++ (https://huggingface.co/jknafou/nllb-200-3.3B-ct2-float16)."""
_FIRST_POSITION = 2
"""CTranslate2 takes the positions after the padding token's, which is 1 in both families."""
_OUT_OF_MEMORY = "out of memory"


class CTranslate2Generator:
    """A `Generator` on a converted model."""

    def __init__(self, translator: ctranslate2.Translator, config: TranslationConfig) -> None:
        self._translator = translator
        self._config = config
        self.device_type: str = translator.device

    @classmethod
    def load(cls, loaded: TranslationModel, config: TranslationConfig, execution: Execution) -> "CTranslate2Generator":
        """The model converted and read, on the device and with the threads of `execution`.

        Raises:
            ConfigError: the device cannot compute in `translation.dtype`.
            TranslationFailed: the model cannot be converted, or not be loaded on the device.
        """
        device = resolve_device(execution.device).type
        _check_compute_type(device, config.dtype)
        with converted_model(loaded, config.dtype) as folder:
            try:
                translator = ctranslate2.Translator(
                    str(folder), device=device, compute_type=config.dtype, inter_threads=1,
                    intra_threads=execution.threads,
                )  # fmt: skip
            except RuntimeError as error:
                raise TranslationFailed(
                    f"CTranslate2 cannot load the converted translator on {device}: {error}; set `translation.engine` "
                    "to transformers, or `execution.device` to cpu"
                ) from error
        return cls(translator, config)

    def generate(self, batch: Sequence[list[int]], target_token_id: int, search: Search) -> list[list[int]]:
        """The answer to each segment, without the target language's token.

        CTranslate2 has one limit of length for a whole batch. So all are decoded to `max_new_tokens`, and those whose
        answer is longer than the segment's own limit are decoded once more, to that limit. What a segment's answer is
        does not depend on its neighbours' lengths.

        Raises:
            BatchTooLarge: the GPU's memory is too small for all at once.
        """
        answers = self._answers(batch, target_token_id, search, self._config.max_new_tokens)
        limits = [int(limit) for limit in token_limits(batch, self._config.max_length_ratio)]
        too_long = [index for index, answer in enumerate(answers) if len(answer) > limits[index]]
        for limit in sorted({limits[index] for index in too_long}):
            indices = [index for index in too_long if limits[index] == limit]
            # The language token counts.
            shorter = self._answers([batch[index] for index in indices], target_token_id, search, limit + 1)
            for index, answer in zip(indices, shorter, strict=True):
                answers[index] = answer
        return answers

    def _answers(
        self, batch: Sequence[list[int]], target_token_id: int, search: Search, most_tokens: int
    ) -> list[list[int]]:
        try:
            results = self._translator.translate_batch(
                [[str(token_id) for token_id in ids] for ids in batch],
                target_prefix=[[str(target_token_id)]] * len(batch),
                beam_size=search.beams,
                patience=_PATIENCE,
                length_penalty=self._config.length_penalty,
                no_repeat_ngram_size=search.no_repeat_ngram_size,
                max_decoding_length=most_tokens,
                max_input_length=0,  # Never cut a source: segments are within `max_segment_tokens`.
            )
        except RuntimeError as error:
            if _OUT_OF_MEMORY in str(error):
                raise BatchTooLarge(str(error)) from error
            raise TranslationFailed(
                f"CTranslate2 failed on {len(batch)} segments of up to {max(map(len, batch))} tokens: {error}"
            ) from error
        return [[int(token) for token in result.hypotheses[0][1:]] for result in results]


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


def _check_compute_type(device: str, dtype: str) -> None:
    supported = ctranslate2.get_supported_compute_types(device)
    if dtype not in supported:
        raise ConfigError(
            f"translation.dtype is {dtype!r}, which CTranslate2 cannot compute on {device} here (it can: "
            f"{', '.join(sorted(supported))}); set `translation.dtype` to float32, or `translation.engine` to "
            "transformers"
        )


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
