"""The engine `transformers`: generate() of an M2M100-architecture model.

Decoding settings come from the recipe and never from the model's own generation_config.json, which differs between
releases of one family.

The key-value cache appends in place. The one that transformers makes by default concatenates: for every token, layer
and side it allocates a tensor one token longer and copies all that came before. Here a buffer is written to and doubled
when it is full, so a sequence of n tokens copies O(n) instead of O(n²); for a small model on a CPU that was half of the
decoding time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

from cc_tuning.translation.batching import token_limits
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.token_translator import BatchTooLarge, Search
from cc_tuning.translation.translator_families import Family

_FIRST_CAPACITY = 32


class TransformersGenerator:
    """A `Generator` on a model that is where it shall run."""

    def __init__(self, model: Any, family: Family, config: TranslationConfig) -> None:
        self._model = model.eval()
        self._family = family
        self._config = config
        self.device_type: str = model.device.type
        # What generate() is not told it would take from the model's own settings.
        self._model.generation_config = GenerationConfig()

    def generate(self, batch: Sequence[list[int]], target_token_id: int, search: Search) -> list[list[int]]:
        """The answer to each segment, without the target language's token.

        Raises:
            BatchTooLarge: the GPU's memory is too small for all at once.
        """
        try:
            return self._generate(batch, self._decoding(target_token_id, search))
        except torch.OutOfMemoryError as error:
            raise BatchTooLarge(str(error)) from error

    def _decoding(self, target_token_id: int, search: Search) -> GenerationConfig:
        return GenerationConfig(
            num_beams=search.beams,
            do_sample=False,
            length_penalty=self._config.length_penalty,
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            max_new_tokens=self._config.max_new_tokens,
            forced_bos_token_id=target_token_id,
            decoder_start_token_id=self._model.config.decoder_start_token_id,
            eos_token_id=self._family.end_token_id,
            pad_token_id=self._family.padding_id,
        )

    @torch.inference_mode()
    def _generate(self, batch: Sequence[list[int]], decoding: GenerationConfig) -> list[list[int]]:
        lengths = torch.tensor([len(ids) for ids in batch])
        input_ids = torch.full((len(batch), int(lengths.max())), self._family.padding_id)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        limits = token_limits(batch, self._config.max_length_ratio).repeat_interleave(decoding.num_beams)
        device = self._model.device
        output = self._model.generate(
            generation_config=decoding,
            input_ids=input_ids.to(device),
            attention_mask=attention_mask.to(device),
            past_key_values=growing_encoder_decoder_cache(),
            logits_processor=[LengthLimit(limits.to(device), self._family.end_token_id)],
        )
        # Before an answer stand the decoder's start token and the language token.
        answers: list[list[int]] = output[:, 2:].tolist()
        return answers


class LengthLimit(LogitsProcessor):
    """Ends each sequence at its own limit, so that a segment's translation does not depend on its neighbours' lengths.

    `limits: [B * beams] int64`, tokens after the language token.
    """

    def __init__(self, limits: Tensor, end_token_id: int) -> None:
        self._limits = limits
        self._end_token_id = end_token_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The decoder starts with its start token and the language token.
        is_over = input_ids.shape[1] - 2 >= self._limits
        if not is_over.any():
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self._end_token_id] = 0.0
        return torch.where(is_over[:, None], ended, scores)


def growing_encoder_decoder_cache() -> EncoderDecoderCache:
    """The cache of an encoder-decoder model. Its cross-attention side is written once, so there is nothing to grow."""
    return EncoderDecoderCache(
        Cache(layer_class_to_replicate=GrowingLayer), Cache(layer_class_to_replicate=DynamicLayer)
    )


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, `[B, H, length, D]` views of buffers with room for more."""

    def __init__(self) -> None:
        super().__init__()
        self._key_buffers, self._value_buffers = _Buffers(), _Buffers()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append `[B, H, new, D]`; all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._key_buffers.append(self.keys, key_states)
        self.values = self._value_buffers.append(self.values, value_states)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes the old row `beam_idx[i]`: beam search keeps another choice of hypotheses."""
        if self.keys is not None and self.values is not None and self.get_seq_length():
            rows = beam_idx.to(self.keys.device)
            self.keys = self._key_buffers.reordered(self.keys, rows)
            self.values = self._value_buffers.reordered(self.values, rows)


class _Buffers:
    """Two buffers of one shape: reordering reads one and writes the other."""

    def __init__(self) -> None:
        self._current: Tensor | None = None
        self._other: Tensor | None = None

    def append(self, held: Tensor | None, new: Tensor) -> Tensor:
        """`held [B, H, length, D]`, or nothing yet, and `new` behind it."""
        length = held.shape[-2] if held is not None and held.numel() else 0
        end = length + new.shape[-2]
        buffer = self._current
        # Whoever replaced `held` by another tensor (a crop, a choice of rows) left the buffer behind.
        is_ours = length and _begins(buffer, held)
        if buffer is None or not is_ours or end > buffer.shape[-2]:
            buffer = new.new_empty(*new.shape[:2], max(_FIRST_CAPACITY, 2 * length, end), new.shape[-1])
            if held is not None and length:
                buffer[:, :, :length] = held
            self._current, self._other = buffer, None
        buffer[:, :, length:end] = new
        return buffer[:, :, :end]

    def reordered(self, held: Tensor, rows: Tensor) -> Tensor:
        """`held[rows]`, in the other buffer."""
        if self._current is None or not _begins(self._current, held):
            return held.index_select(0, rows)
        if self._other is None:
            self._other = torch.empty_like(self._current)
        self._current, self._other = self._other, self._current
        return torch.index_select(held, 0, rows, out=self._current[:, :, : held.shape[-2]])


def _begins(buffer: Tensor | None, held: Tensor | None) -> bool:
    """Whether `held` is the beginning of `buffer`."""
    if buffer is None or held is None:
        return False
    return held.data_ptr() == buffer.data_ptr() and held.shape[:2] == buffer.shape[:2]
