"""The `translator` stage: a tiny model of the NLLB architecture that turns the world's sentences into English.

The artifact's folder is an ordinary Hugging Face directory (M2M100 with an NLLB tokenizer, all FLORES-200 codes known),
`losses.jsonl`, and `held_out.json`: how many sentences it translates word for word, measured on pairs it did not learn
from. A recipe with its own rows adds their text to the tokenizer and, where they have English versions, their pairs.
"""

import logging
import random
from typing import Any

import polars as pl
import torch
from torch import Tensor
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from cc_tuning.miniature.batches import EncodedPair, batches_of_pairs, encode_pairs, encode_sources, padded
from cc_tuning.miniature.config import TranslatorConfig
from cc_tuning.miniature.optimisation import Training, optimise, seeded
from cc_tuning.miniature.shipping import unpack_shipped
from cc_tuning.miniature.text_sources import sound_rows, texts_of_rows
from cc_tuning.miniature.tokenizers import train_nllb_tokenizer
from cc_tuning.runtime.devices import limited_threads, resolve_device
from cc_tuning.runtime.step import Build
from cc_tuning.selection.checks import identify_rows
from cc_tuning.text.languages import ENGLISH_FLORES_CODE, UnknownLanguage, find_language
from data_contracts.files import write_json
from data_contracts.layout import HELD_OUT_TRANSLATIONS, LOSSES, WORLD_SENTENCES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_verified

logger = logging.getLogger(__name__)

# At this width the usual 0.02 leaves cross-attention without preferences: after 300 steps no held-out sentence was
# translated word for word with it, 81 of 100 with this.
_FIRST_WEIGHTS_STD = 0.09
_POSITIONS = 1_024
_EVALUATED_AT_ONCE = 50
_LONGEST_TRANSLATION = 48
_TEXT_COLUMNS = {"flores_code": pl.String, "text": pl.String, "english": pl.String}


def build_translator(build: Build[TranslatorConfig]) -> RowCounts:
    """Train the tokenizer, then the model, measure it, and save both; or take the shipped ones.

    Where every row of the recipe's own brings its English nothing will be translated: the weights stay as they begin,
    `held_out.json` has no pair, and there is no `losses.jsonl`.
    """
    config = build.config
    if "shipped" in build.inputs:
        return unpack_shipped("translator", M2M100ForConditionalGeneration, build)
    pairs, texts, is_needed = _pairs_and_texts(build)
    size = config.vocabulary_size + (config.extra_vocabulary_size if texts else 0)
    tokenizer = train_nllb_tokenizer([*pairs["text"], *pairs["english"], *texts], size)
    with limited_threads(build.execution.threads), seeded(config.seed):
        # transformers' types hide the methods of a model behind decorators.
        model: Any = M2M100ForConditionalGeneration(_model_config(config, tokenizer))
        learned = _train(build, model, tokenizer, pairs) if is_needed else 0
    if not is_needed:
        logger.info("translator: not trained, since every row brings its English")
        write_json(build.folder / HELD_OUT_TRANSLATIONS, {"pairs": 0, "exact_matches": 0})
    model.save_pretrained(build.folder)
    tokenizer.save_pretrained(build.folder)
    return RowCounts(read=pairs.height, kept=learned, not_selected=pairs.height - learned)


def _train(build: Build[TranslatorConfig], model: Any, tokenizer: NllbTokenizer, pairs: pl.DataFrame) -> int:
    """Train and measure `model` in place; the number of pairs that it learnt from."""
    config = build.config
    held_out = _held_out(pairs, config)
    # Apart by text, so that no sentence is on both sides.
    learned = encode_pairs(pairs.join(held_out, on="text", how="anti", maintain_order="left"), tokenizer)
    steps, examples = config.steps, learned
    if config.both_ways:
        steps, examples = 2 * steps, [*learned, *(EncodedPair(pair.labels, pair.source) for pair in learned)]
    model.to(resolve_device(build.execution.device))
    batches = batches_of_pairs(examples, config.batch_tokens, model.config.pad_token_id, config.seed)
    losses_file = build.folder / LOSSES
    loss = optimise(model, batches, lambda batch: model(**batch).loss, Training(steps), losses_file, build.progress)
    translations = translate(held_out, model, tokenizer)
    exact = sum(found == english for found, english in zip(translations, held_out["english"], strict=True))
    logger.info(
        "translator: %s parameters, %s pairs, %d steps, last loss %.3f, %d of %d held-out sentences word for word",
        f"{model.num_parameters():,}", f"{len(learned):,}", steps, loss, exact, held_out.height,
    )  # fmt: skip
    write_json(build.folder / HELD_OUT_TRANSLATIONS, {"pairs": held_out.height, "exact_matches": exact})
    return len(learned)


@torch.inference_mode()
def translate(pairs: pl.DataFrame, model: Any, tokenizer: NllbTokenizer) -> list[str]:
    """The model's greedy English of column text, whose language is column flores_code."""
    sources = encode_sources(pairs, tokenizer)
    padding, english = model.config.pad_token_id, tokenizer.convert_tokens_to_ids(ENGLISH_FLORES_CODE)
    translations: list[str] = []
    for first in range(0, len(sources), _EVALUATED_AT_ONCE):
        ids: Tensor = padded(sources[first : first + _EVALUATED_AT_ONCE], padding).to(model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=(ids != padding).long(),
            forced_bos_token_id=english,
            max_new_tokens=_LONGEST_TRANSLATION,
            num_beams=1,
        )
        translations += tokenizer.batch_decode(output, skip_special_tokens=True)
    return translations


def _pairs_and_texts(build: Build[TranslatorConfig]) -> tuple[pl.DataFrame, list[str], bool]:
    """Sentence pairs (columns flores_code, text, english), the text of the recipe's own rows, and whether there is
    anything to translate.
    """
    pairs = read_verified(build.inputs["world"].path / WORLD_SENTENCES).select("flores_code", "text", "english")
    if "rows" not in build.inputs:
        return pairs, [], True
    rows = sound_rows(build.inputs["rows"])
    lacking = identify_rows(rows).filter(pl.col("inputs_en").is_null(), pl.col("flores_code") != ENGLISH_FLORES_CODE)
    is_needed = build.config.both_ways or build.config.reads_prompts or not lacking.is_empty()
    return pl.concat([pairs, _given_pairs(rows)]), texts_of_rows(rows), is_needed


def _given_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Instructions and answers that came with their English version."""
    pairs = []
    for row in rows.filter(pl.col("inputs_en").is_not_null(), pl.col("targets_en").is_not_null()).to_dicts():
        try:
            language = find_language(row["language_code"], row["language"] or "", row["inputs"])
        except UnknownLanguage:
            continue  # The select stage sets such rows aside and says so.
        if not language.is_english:
            pairs += [(language.flores_code, row[side], row[f"{side}_en"]) for side in ("inputs", "targets")]
    return pl.DataFrame(pairs, schema=_TEXT_COLUMNS, orient="row")


def _held_out(pairs: pl.DataFrame, config: TranslatorConfig) -> pl.DataFrame:
    number = min(config.held_out_pairs, pairs.height // 2)
    chosen = random.Random(f"held out/{config.seed}").sample(range(pairs.height), number)
    return pairs[sorted(chosen)]


def _model_config(config: TranslatorConfig, tokenizer: NllbTokenizer) -> M2M100Config:
    return M2M100Config(
        vocab_size=len(tokenizer),
        d_model=config.hidden_size,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.intermediate_size,
        decoder_ffn_dim=config.intermediate_size,
        max_position_embeddings=_POSITIONS,
        # Too few steps to overfit; every dropped unit and layer only costs some.
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        init_std=_FIRST_WEIGHTS_STD,
    )
