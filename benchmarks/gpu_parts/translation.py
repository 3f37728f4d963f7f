"""Source tokens a second of a translator in the shape of NLLB-3.3B: greedy and with beams, by batch size.

Weights and sentences are random, sentences of equal length, and every answer as long as its sentence: what is measured
is decoding, with transformers' own cache and with the one of the stage `translate`, which appends in place.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from timing import in_turn
from torch import Tensor
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration

from cc_tuning.translation.transformers_generator import growing_encoder_decoder_cache
from gpu_parts.board import Board
from gpu_parts.options import Options, Sizes

BEGIN, PADDING, END = 0, 1, 2  # NLLB's ids
BEAMS = (1, 4)
"""Greedy, and the stage's default."""


def build_translator(sizes: Sizes, device: str) -> Any:
    """An encoder-decoder with random weights, made on the device."""
    config = M2M100Config(
        **sizes.translator, max_position_embeddings=1024, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
        bos_token_id=BEGIN, pad_token_id=PADDING, eos_token_id=END, decoder_start_token_id=END,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = M2M100ForConditionalGeneration(config)
    model = model.to(getattr(torch, sizes.dtype)).eval()
    model.generation_config = GenerationConfig()
    return model


def translate_with(model: Any, sentences: Tensor, beams: int, cache: str) -> Callable[[], None]:
    """A function that translates all sentences `[B, T]` at once, each into `T` tokens."""
    tokens = sentences.shape[1]
    settings = GenerationConfig(
        num_beams=beams, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens, forced_bos_token_id=BEGIN,
        eos_token_id=END, pad_token_id=PADDING, decoder_start_token_id=END,
    )  # fmt: skip

    def translate() -> None:
        given = {"past_key_values": growing_encoder_decoder_cache()} if cache == "growing" else {}
        with torch.inference_mode():
            output = model.generate(
                input_ids=sentences, attention_mask=torch.ones_like(sentences), generation_config=settings, **given
            )
        assert output.shape == (len(sentences), tokens + 1)

    return translate


def measure(options: Options, board: Board) -> None:
    """Each number of beams with each batch size."""
    sizes = options.sizes
    model = build_translator(sizes, board.device)
    draw = torch.Generator().manual_seed(0)
    runs = [(beams, batch) for beams in BEAMS for batch in sizes.translator_batches]
    for place, (beams, batch) in enumerate(runs):
        shape = (batch, sizes.translator_tokens)
        sentences = torch.randint(10, sizes.translator["vocab_size"], shape, generator=draw).to(board.device)
        name = f"{beams} beams, {batch} sentences of {sizes.translator_tokens} tokens"
        with board.attempted(name):
            ways = {cache: translate_with(model, sentences, beams, cache) for cache in ("transformers'", "growing")}
            timings = in_turn(ways, sizes.rounds, board.left / (len(runs) - place) / 2)
            for cache, rounds in timings.items():
                seconds = statistics.median(wall for wall, _ in rounds)
                board.add(
                    f"{name}, {cache} cache", seconds=seconds, source_tokens_per_second=sentences.numel() / seconds
                )
            board.compare(name, timings, "transformers'", "growing")
