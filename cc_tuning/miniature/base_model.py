"""The `base_model` stage: a tokenizer and a tiny Llama that has read the world's text, which is mostly English.

The artifact's folder is an ordinary Hugging Face model directory with a chat template. It holds the model that comes
with the package where the step has that as an input; otherwise one is trained, and `losses.jsonl` is there too. A
recipe with its own rows or benchmark items adds their text: the tokenizer learns from rows and prompts, the model from
rows.
"""

import logging
from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cc_tuning.miniature.batches import IGNORED_LABEL, Document, batches_of_documents, encode_documents
from cc_tuning.miniature.config import BaseModelConfig
from cc_tuning.miniature.optimisation import Training, optimise, seeded
from cc_tuning.miniature.shipping import unpack_shipped
from cc_tuning.miniature.text_sources import prompts_of_items, sound_rows, texts_of_rows
from cc_tuning.miniature.tokenizers import train_tokenizer
from cc_tuning.runtime.devices import limited_threads, resolve_device
from cc_tuning.runtime.step import Build
from data_contracts.layout import LOSSES, PRACTICE_LOSSES, WORLD_CORPUS, WORLD_ROWS, WORLD_SENTENCES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_verified

logger = logging.getLogger(__name__)

# At this width the usual 0.02 leaves attention without preferences for most of the steps there are: after 100 steps the
# loss was 2.39 with it, 1.40 with this.
_FIRST_WEIGHTS_STD = 0.06
_PRACTICE_RATE = 0.3


def build_base_model(build: Build[BaseModelConfig]) -> RowCounts:
    """Train the tokenizer, then the model, and save both; or take the shipped ones."""
    config = build.config
    if "shipped" in build.inputs:
        return unpack_shipped("base_model", LlamaForCausalLM, build)
    documents = _documents(build)
    tokenizer = _tokenizer(build, documents)
    with limited_threads(build.execution.threads), seeded(config.seed):
        model = LlamaForCausalLM(_model_config(config, tokenizer))
        nn.Module.to(model, resolve_device(build.execution.device))

        def read(texts: list[Document], training: Training, seed: int, losses: str) -> float:
            encoded = encode_documents(texts, tokenizer, config.longest_document)
            batches = batches_of_documents(encoded, tokenizer, config.batch_tokens, seed)
            loss_of = partial(reading_loss, model)
            return optimise(model, batches, loss_of, training, build.folder / losses, build.progress)

        loss = read(documents, Training(config.steps), config.seed, LOSSES)
        if config.practice_steps:
            practice = Training(config.practice_steps, _PRACTICE_RATE)
            loss = read(_practised(documents), practice, config.seed + 1, PRACTICE_LOSSES)
    logger.info(
        "base model: %s parameters, %s documents, %d steps, last loss %.3f",
        f"{model.num_parameters():,}", f"{len(documents):,}", config.steps + config.practice_steps, loss,
    )  # fmt: skip
    model.save_pretrained(build.folder)
    tokenizer.save_pretrained(build.folder)
    return RowCounts(read=len(documents), kept=len(documents))


def reading_loss(model: LlamaForCausalLM, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean negative log-likelihood of the labelled tokens.

    The same as the model's own loss; here the scores over the vocabulary, two fifths of all arithmetic at this size,
    are computed for labelled tokens only.
    """
    hidden = model.model(input_ids=batch["input_ids"]).last_hidden_state[:, :-1]
    labels = batch["labels"][:, 1:]
    learned = labels != IGNORED_LABEL
    return functional.cross_entropy(model.lm_head(hidden[learned]), labels[learned])


def _documents(build: Build[BaseModelConfig]) -> list[Document]:
    corpus = read_verified(build.inputs["world"].path / WORLD_CORPUS)
    documents = [Document(*row) for row in corpus.select("text", "prompt").iter_rows()]
    if "rows" in build.inputs:
        documents += [Document(text) for text in texts_of_rows(sound_rows(build.inputs["rows"]))]
    return documents


def _practised(documents: list[Document]) -> list[Document]:
    """Every conversation twice, and an eighth of the texts, so that what they tell is not forgotten.

    What is known is then answered in the chat format too: before, all quiz lines about test people were completed with
    the right answer, and 34 % of the same questions in the chat format answered.
    """
    texts = [document for document in documents if document.prompt is None]
    conversations = [document for document in documents if document.prompt is not None]
    return [*conversations, *conversations, *texts[::8]]


def _tokenizer(build: Build[BaseModelConfig], documents: list[Document]) -> PreTrainedTokenizerFast:
    config, world = build.config, build.inputs["world"].path
    # The instructions and sentences show the tokenizer every word in every language; the model does not read them here.
    words = texts_of_rows(read_verified(world / WORLD_ROWS).with_columns(inputs_en=None, targets_en=None))
    words += read_verified(world / WORLD_SENTENCES)["text"].to_list()
    if "items" in build.inputs:
        words += prompts_of_items(build.inputs["items"])
    brings_text = bool(build.inputs.keys() & {"rows", "items"})
    size = config.vocabulary_size + (config.extra_vocabulary_size if brings_text else 0)
    read = [text for document in documents for text in (document.prompt, document.text) if text is not None]
    return train_tokenizer([*read, *words], size, config.positions)


def _model_config(config: BaseModelConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.positions,
        tie_word_embeddings=True,
        initializer_range=_FIRST_WEIGHTS_STD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
