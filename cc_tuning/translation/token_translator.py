"""A `Translator` on token ids: everything that engines have in common.

Segments of similar length are decoded together; identical segments once. A batch for which the GPU's memory is too
small is halved until it fits.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from cc_tuning.errors import TranslationFailed
from cc_tuning.text.languages import Language
from cc_tuning.translation.batching import STEP_ROWS, batches_by_cost
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.translator_families import Family

logger = logging.getLogger(__name__)


class BatchTooLarge(Exception):
    """The device has no memory for a batch."""


@dataclass(frozen=True)
class Search:
    """The settings in which the first and the second decoding differ."""

    beams: int
    no_repeat_ngram_size: int


class Generator(Protocol):
    """A model that answers token ids with token ids: what an engine has to bring."""

    device_type: str
    """`cpu` or `cuda`."""

    def generate(self, batch: Sequence[list[int]], target_token_id: int, search: Search) -> list[list[int]]:
        """The answer to each segment, without the target language's token, which it is made to begin with.

        Raises:
            BatchTooLarge: the device's memory is too small for all at once.
        """
        ...


class TokenTranslator:
    """A `Translator` made of a family's tokenizer and an engine."""

    def __init__(self, family: Family, generator: Generator, config: TranslationConfig, batch_tokens: int) -> None:
        self._family = family
        self._generator = generator
        self._batch_tokens = batch_tokens
        self._first = Search(config.beams, config.no_repeat_ngram_size)
        self._second = Search(config.retry_beams, config.retry_no_repeat_ngram_size)

    def knows(self, language: Language) -> bool:
        """Whether the tokenizer has a token for this language."""
        return self._family.knows(language)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without language and end tokens."""
        return self._family.count_tokens(texts)

    def translate(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Each segment in the target language, in the same order.

        Raises:
            TranslationFailed: the tokenizer has no token for a language, or one segment does not fit in memory.
        """
        return self._translate(segments, source, target, self._first)

    def translate_again(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Like `translate`, with the settings of the second decoding (`retry_beams`, `retry_no_repeat_ngram_size`)."""
        return self._translate(segments, source, target, self._second)

    def _translate(self, segments: Sequence[str], source: Language, target: Language, search: Search) -> list[str]:
        target_token_id = self._family.language_token_id(target)
        unique = sorted(set(segments))
        encoded = self._family.encode(unique, source)
        answers: dict[str, str] = {}
        step_rows = -(-STEP_ROWS[self._generator.device_type] // search.beams)
        for batch in batches_by_cost([len(ids) for ids in encoded], self._batch_tokens, step_rows):
            generated = self._within_memory([encoded[index] for index in batch], target_token_id, search)
            answers |= {unique[index]: self._family.text(ids) for index, ids in zip(batch, generated, strict=True)}
        return [answers[segment] for segment in segments]

    def _within_memory(self, batch: Sequence[list[int]], target_token_id: int, search: Search) -> list[list[int]]:
        """The answers, in halves and their halves where the GPU's memory is too small for all at once."""
        try:
            return self._generator.generate(batch, target_token_id, search)
        except BatchTooLarge as error:
            if len(batch) == 1:
                raise TranslationFailed(
                    f"one segment of {len(batch[0])} tokens with {search.beams} beams does not fit in the GPU's "
                    "memory; lower `translation.max_segment_tokens`, or `translation.beams` and "
                    "`translation.retry_beams`, or set `translation.dtype` to float16"
                ) from error
        # Out here the failed attempt's tensors are no longer held by its traceback.
        torch.cuda.empty_cache()
        logger.warning(
            "translate: no memory for %d segments of up to %d tokens; going on with half of them "
            "(`execution.translation_batch_tokens` is too high for this GPU)",
            len(batch), max(len(ids) for ids in batch),
        )  # fmt: skip
        middle = len(batch) // 2
        return [
            *self._within_memory(batch[:middle], target_token_id, search),
            *self._within_memory(batch[middle:], target_token_id, search),
        ]
