"""Source tokens per second of the translator: one by one, in fixed batches as they come, and as the stage does it.

The first two are plain loops around transformers' `generate`. A model of NLLB's architecture with random weights and
about 60 million parameters; it never ends a sentence, so a batch is decoded to the length of its longest segment and 16
more tokens by all three. Segments are those of real rows, cut as the stage cuts them. To save time the
first takes every twentieth row and the second every fourth; the stage takes all.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from timing import Comparison, parser, report
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from cc_tuning.miniature.tokenizers import train_nllb_tokenizer
from cc_tuning.text.languages import ENGLISH, ENGLISH_FLORES_CODE, by_flores_code, find_language
from cc_tuning.translation.batching import EXTRA_TOKENS
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.segmentation import Segmenter
from cc_tuning.translation.token_translator import TokenTranslator
from cc_tuning.translation.transformers_generator import TransformersGenerator
from cc_tuning.translation.translator_families import Nllb

FIXED_BATCH = 16
FIXED_SHARE, ONE_BY_ONE_SHARE = 4, 20

Segments = Mapping[str, Sequence[str]]  # by FLORES code


def build_model(
    tokenizer: NllbTokenizer, device: str, width: int = 512, layers: int = 6
) -> M2M100ForConditionalGeneration:
    """So many layers on each side, so wide, with eight heads."""
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, encoder_attention_heads=8, decoder_attention_heads=8,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, max_position_embeddings=1024, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, decoder_start_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model: Any = M2M100ForConditionalGeneration(config)
    return model.to(device)  # type: ignore[no-any-return]


def read_segments(path: Path, rows: int, translator: TokenTranslator, max_tokens: int) -> list[tuple[str, list[str]]]:
    """The segments of each of the first `rows` rows that are not English, with the row's FLORES code."""
    found: list[tuple[str, list[str]]] = []
    for code, name, *texts in (
        pl.read_parquet(path).select("language_code", "language", "inputs", "targets").iter_rows()
    ):
        language = find_language(code, name, texts[0])
        if language.flores_code == ENGLISH_FLORES_CODE or len(found) == rows:
            continue
        segmenter = Segmenter(by_flores_code(language.flores_code), max_tokens, translator.count_tokens)
        pieces = (piece for text in texts for piece in segmenter.pieces(text) if piece.is_prose)
        found.append((language.flores_code, [piece.text for piece in pieces]))
    return found


def by_language(rows: Sequence[tuple[str, list[str]]]) -> Segments:
    """Distinct segments in the order of the rows: the saving of identical ones is not what is measured."""
    segments: dict[str, dict[str, None]] = {}
    for code, of_row in rows:
        segments.setdefault(code, {}).update(dict.fromkeys(of_row))
    return {code: list(distinct) for code, distinct in segments.items()}


def chunks(segments: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """`size` segments at a time, as they come."""
    for first in range(0, len(segments), size):
        yield segments[first : first + size]


Translate = Callable[[Sequence[str], str], object]  # segments and their FLORES code


def plain_translate(model: M2M100ForConditionalGeneration, tokenizer: NllbTokenizer) -> Translate:
    """The segments as one batch, the way transformers' documentation does it."""
    english = tokenizer.convert_tokens_to_ids(ENGLISH_FLORES_CODE)

    def translate(segments: Sequence[str], code: str) -> list[str]:
        tokenizer.src_lang = code
        batch = tokenizer(list(segments), return_tensors="pt", padding=True).to(model.device)
        settings = GenerationConfig(
            num_beams=1, do_sample=False, max_new_tokens=batch["input_ids"].shape[1] + EXTRA_TOKENS,
            forced_bos_token_id=english, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        with torch.inference_mode():
            output = model.generate(**batch, generation_config=settings)
        return tokenizer.batch_decode(output, skip_special_tokens=True)  # type: ignore[no-any-return]

    return translate


def seconds_per_token(
    translate: Translate, tokens: Mapping[str, int], segments: Segments, size: int | None
) -> tuple[float, float]:
    """Wall and CPU seconds per source token, given `size` segments at a time, or without a size all of a language."""
    wall, cpu = time.perf_counter(), time.process_time()
    for code, of_language in segments.items():
        for chunk in chunks(of_language, size or len(of_language)):
            translate(chunk, code)
    total = sum(tokens[segment] for of_language in segments.values() for segment in of_language)
    return (time.perf_counter() - wall) / total, (time.process_time() - cpu) / total


def compared(base: Sequence[tuple[float, float]], new: Sequence[tuple[float, float]]) -> Comparison:
    """Seconds per 1,000 source tokens, round by round; each round has wall and CPU seconds per token."""
    rounds = list(zip(base, new, strict=True))
    low, ratio, high = statistics.quantiles([later[0] / earlier[0] for earlier, later in rounds], n=4)
    slow, fast = (1000 * statistics.median(wall for wall, _ in way) for way in (base, new))
    cpu_ratio = statistics.median(later[1] / earlier[1] for earlier, later in rounds)
    return Comparison(len(rounds), slow, fast, ratio, low, high, cpu_ratio)


def main() -> None:
    options = parser(__doc__ or "", "translation", pairs=3)
    options.add_argument("source", type=Path, help="parquet file with Aya's columns")
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--beams", type=int, default=1)
    options.add_argument("--batch-tokens", type=int, default=4096, help="padded source tokens per batch of the stage")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = pl.read_parquet(arguments.source)
    tokenizer = train_nllb_tokenizer([*rows["inputs"], *rows["targets"]], 30_000)
    model = build_model(tokenizer, arguments.device)
    config = TranslationConfig(beams=arguments.beams, max_length_ratio=1.0, max_new_tokens=300)
    family = Nllb(tokenizer)
    generator = TransformersGenerator(model, family, config)
    stage = TokenTranslator(family, generator, config, arguments.batch_tokens)
    cut = read_segments(arguments.source, arguments.rows, stage, config.max_segment_tokens)
    everything, some, few = (by_language(cut[::share]) for share in (1, FIXED_SHARE, ONE_BY_ONE_SHARE))
    distinct = [segment for of_language in everything.values() for segment in of_language]
    tokens = dict(zip(distinct, stage.count_tokens(distinct), strict=True))
    plain = plain_translate(model, tokenizer)

    def by_stage(segments: Sequence[str], code: str) -> list[str]:
        return stage.translate(segments, by_flores_code(code), ENGLISH)

    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "one by one": lambda: seconds_per_token(plain, tokens, few, 1),
        f"{FIXED_BATCH} as they come": lambda: seconds_per_token(plain, tokens, some, FIXED_BATCH),
        "stage": lambda: seconds_per_token(by_stage, tokens, everything, None),
    }
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(arguments.pairs):
        for name, way in ways.items():
            timings[name].append(way())
    print(
        f"{model.num_parameters():,} parameters, {len(cut)} rows, {len(distinct)} segments, "
        f"{sum(tokens.values()):,} source tokens"
    )
    for name, of_way in timings.items():
        print(f"{name:<28}{1 / statistics.median(wall for wall, _ in of_way):>9.0f} source tokens/s")
    names = list(ways)
    figures = {f"stage / {name}": compared(timings[name], timings["stage"]) for name in names[:-1]}
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report("Translation: seconds per 1,000 source tokens", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
