"""Any translation model of the NLLB family, through transformers.

Segments of similar length are decoded together; identical segments once. The source language is state of the tokenizer,
and the target language's token is forced to come first, so every call is for one pair of languages. Decoding settings
come from the recipe and never from the model's own generation_config.json, which differs between NLLB releases. A batch
for which the GPU's memory is too small is halved until it fits.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, M2M100ForConditionalGeneration, NllbTokenizer

from cc_tuning.devices import resolve_device
from cc_tuning.errors import TranslationFailed
from cc_tuning.execution import Execution
from cc_tuning.growing_cache import growing_encoder_decoder_cache
from cc_tuning.languages import ENGLISH, Language
from cc_tuning.step import Location
from cc_tuning.translation.batching import EXTRA_TOKENS, STEP_ROWS, batches_by_cost
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.nllb_vocabulary import NllbVocabulary, has_token, load_tokenizer, loading_of, place_of

logger = logging.getLogger(__name__)


class NllbTranslator(NllbVocabulary):
    """A `Translator` on an M2M100-architecture model with NLLB's tokenizer."""

    def __init__(
        self,
        model: M2M100ForConditionalGeneration,
        tokenizer: NllbTokenizer,
        config: TranslationConfig,
        batch_tokens: int,
    ) -> None:
        super().__init__(tokenizer)
        self._model = model.eval()
        self._config = config
        self._batch_tokens = batch_tokens
        # What generate() is not told it would take from the model's own settings.
        self._model.generation_config = self._decoding(ENGLISH, config.beams, config.no_repeat_ngram_size)

    @classmethod
    def load(cls, location: Location, config: TranslationConfig, execution: Execution) -> "NllbTranslator":
        """The translator in a directory, or of the hub at a pinned revision.

        Raises:
            TranslationFailed: it is not a whole model of the NLLB family with its tokenizer, or cannot be fetched.
        """
        tokenizer = load_tokenizer(location)
        with loading_of(location.name):
            loaded: Any = M2M100ForConditionalGeneration.from_pretrained(
                **place_of(location),
                dtype=getattr(torch, config.dtype),
                use_safetensors=True,
                output_loading_info=True,
            )
        model, loading = loaded
        _check_fit(location.name, tokenizer, model, loading["missing_keys"])
        return cls(model.to(resolve_device(execution.device)), tokenizer, config, execution.translation_batch_tokens)

    def translate(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Each segment in the target language, in the same order.

        Raises:
            TranslationFailed: the tokenizer has no token for a language, or one segment does not fit in memory.
        """
        config = self._config
        return self._translate(segments, source, self._decoding(target, config.beams, config.no_repeat_ngram_size))

    def translate_again(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Like `translate`, with the settings of the second decoding (`retry_beams`, `retry_no_repeat_ngram_size`)."""
        config = self._config
        decoding = self._decoding(target, config.retry_beams, config.retry_no_repeat_ngram_size)
        return self._translate(segments, source, decoding)

    def _translate(self, segments: Sequence[str], source: Language, decoding: GenerationConfig) -> list[str]:
        self._tokenizer.src_lang = self._code(source)
        unique = sorted(set(segments))
        encoded = self._encode(unique) if unique else []
        answers: dict[str, str] = {}
        step_rows = -(-STEP_ROWS[self._model.device.type] // decoding.num_beams)
        for batch in batches_by_cost([len(ids) for ids in encoded], self._batch_tokens, step_rows):
            texts = self._generate_within_memory([encoded[index] for index in batch], decoding)
            answers |= {unique[index]: text for index, text in zip(batch, texts, strict=True)}
        return [answers[segment] for segment in segments]

    def _code(self, language: Language) -> str:
        if not self.knows(language):
            raise TranslationFailed(
                f"the translator has no token for {language.flores_code}; such rows must not reach it"
            )
        return language.flores_code

    def _decoding(self, target: Language, beams: int, no_repeat_ngram_size: int) -> GenerationConfig:
        return GenerationConfig(
            num_beams=beams,
            do_sample=False,
            length_penalty=self._config.length_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            max_new_tokens=self._config.max_new_tokens,
            forced_bos_token_id=self._tokenizer.convert_tokens_to_ids(self._code(target)),
            decoder_start_token_id=self._model.config.decoder_start_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _generate_within_memory(self, batch: Sequence[list[int]], decoding: GenerationConfig) -> list[str]:
        """`_generate`, in halves and their halves where the GPU's memory is too small for all at once."""
        try:
            return self._generate(batch, decoding)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise TranslationFailed(
                    f"one segment of {len(batch[0])} tokens with {decoding.num_beams} beams does not fit in the GPU's "
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
            *self._generate_within_memory(batch[:middle], decoding),
            *self._generate_within_memory(batch[middle:], decoding),
        ]

    @torch.inference_mode()
    def _generate(self, batch: Sequence[list[int]], decoding: GenerationConfig) -> list[str]:
        lengths = torch.tensor([len(ids) for ids in batch])
        input_ids = torch.full((len(batch), int(lengths.max())), self._tokenizer.pad_token_id)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        limits = (lengths * self._config.max_length_ratio).long() + EXTRA_TOKENS
        device = self._model.device
        output = self._model.generate(
            generation_config=decoding,
            input_ids=input_ids.to(device),
            attention_mask=attention_mask.to(device),
            past_key_values=growing_encoder_decoder_cache(),
            logits_processor=[
                LengthLimit(limits.repeat_interleave(decoding.num_beams).to(device), self._tokenizer.eos_token_id)
            ],
        )
        texts = self._tokenizer.batch_decode(output, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


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


def _check_fit(name: str, tokenizer: NllbTokenizer, model: M2M100ForConditionalGeneration, missing: set[str]) -> None:
    if missing:
        raise TranslationFailed(
            f"translator {name}: the weights lack {len(missing)} tensors, first {sorted(missing)[:3]}; "
            "they would be random. Download or save the model again"
        )
    if not has_token(tokenizer, ENGLISH.flores_code):
        raise TranslationFailed(f"translator {name}: the tokenizer has no token {ENGLISH.flores_code}, so no English")
    if len(tokenizer) > model.config.vocab_size:
        raise TranslationFailed(
            f"translator {name}: the tokenizer has {len(tokenizer)} tokens and the model {model.config.vocab_size}; "
            "they do not belong together"
        )
