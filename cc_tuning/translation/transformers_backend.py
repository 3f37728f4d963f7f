"""The engine `transformers`: generate() of an M2M100-architecture model.

Decoding settings come from the recipe and never from the model's own generation_config.json, which differs between
releases of one family.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor

from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.growing_cache import growing_encoder_decoder_cache
from cc_tuning.translation.limits import token_limits
from cc_tuning.translation.token_translator import BatchTooLarge, Search
from cc_tuning.translation.translator_families import Family


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

    def __init__(self, limits: torch.Tensor, end_token_id: int) -> None:
        self._limits = limits
        self._end_token_id = end_token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # The decoder starts with its start token and the language token.
        is_over = input_ids.shape[1] - 2 >= self._limits
        if not is_over.any():
            return scores
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self._end_token_id] = 0.0
        return torch.where(is_over[:, None], ended, scores)
