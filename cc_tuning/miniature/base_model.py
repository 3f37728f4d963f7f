"""The `base_model` stage: a tokenizer and a tiny Llama that has read the world's text, which is mostly English.

The artifact's folder is an ordinary Hugging Face model directory with a chat template, and `losses.jsonl`. A recipe
with its own rows or benchmark items adds their text: the tokenizer learns from rows and prompts, the model from rows.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cc_tuning.devices import limited_threads, resolve_device
from cc_tuning.miniature.optimisation import Training, optimise, seeded
from cc_tuning.miniature.text_sources import prompts_of_items, sound_rows, texts_of_rows
from cc_tuning.miniature.tokenizer import END_OF_TEXT, train_tokenizer
from cc_tuning.step import Build, Source, Step
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_verified
from data_contracts.store import ArtifactRef

logger = logging.getLogger(__name__)

VERSION = 1

_FIRST_WEIGHTS_STD = 0.02
_IGNORED_LABEL = -100


class BaseModelConfig(BaseModel):
    """Sizes of the tiny Llama, and how long it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides the first weights and the order of the text.")
    vocabulary_size: int = Field(default=4_096, ge=300, description="Entries of the tokenizer.")
    extra_vocabulary_size: int = Field(
        default=12_288, ge=0, description="Entries more when a recipe brings its own rows or items, in any script."
    )
    hidden_size: int = Field(default=128, ge=8, description="D; a multiple of `heads`.")
    layers: int = Field(default=4, ge=2, description="L; decoder layers.")
    heads: int = Field(default=4, ge=1, description="Attention heads.")
    intermediate_size: int = Field(default=384, ge=8, description="Width of the feed-forward blocks.")
    positions: int = Field(default=16_384, ge=64, description="Tokens the model accepts; real prompts are long.")
    steps: int = Field(default=450, ge=1, description="Training steps.")
    batch_rows: int = Field(default=16, ge=1, description="Blocks per step.")
    block_tokens: int = Field(default=160, ge=8, description="Tokens per block.")
    learning_rate: float = Field(default=4e-3, gt=0, description="The highest learning rate.")


@dataclass(frozen=True)
class Document:
    """A text to read; its first `given_characters` are not learned to be predicted."""

    text: str
    given_characters: int = 0


def base_model_step(config: BaseModelConfig, world: ArtifactRef, texts: Mapping[str, Source]) -> Step:
    """The step that makes the tiny base model.

    Args:
        config: sizes.
        world: the artifact of the `world` stage.
        texts: what else the model will meet: `rows`, a file in Aya's schema, and `items`, a directory of benchmark
            files; both may be missing.
    """
    inputs = {"world": world, **texts}
    return Step("base_model", VERSION, config, inputs, build_base_model, label="base_model")


def build_base_model(build: Build[BaseModelConfig]) -> RowCounts:
    """Train the tokenizer, then the model, and save both."""
    config = build.config
    documents = _documents(build)
    tokenizer = _tokenizer(build, documents)
    with limited_threads(build.execution.threads), seeded(config.seed):
        model = LlamaForCausalLM(_model_config(config, tokenizer))
        nn.Module.to(model, resolve_device(build.execution.device))
        blocks = pack(documents, tokenizer, config.block_tokens, config.seed)
        batches = shuffled_batches(blocks, config.batch_rows, config.seed)
        training = Training(config.steps, config.learning_rate)
        loss = optimise(model, batches, training, build.folder / "losses.jsonl", build.progress)
    logger.info(
        "base model: %s parameters, %s blocks of %d tokens, %d steps, last loss %.3f",
        f"{model.num_parameters():,}", f"{len(blocks):,}", config.block_tokens, config.steps, loss,
    )  # fmt: skip
    model.save_pretrained(build.folder)
    tokenizer.save_pretrained(build.folder)
    return RowCounts(read=len(documents), kept=len(documents))


def pack(documents: list[Document], tokenizer: PreTrainedTokenizerFast, block_tokens: int, seed: int) -> Tensor:
    """All documents in random order, one behind the other, cut into blocks: ids and labels, [N, 2, block_tokens] int64.

    Each document begins with the beginning-of-text token and ends with the end-of-text token. The tokens after the
    last whole block are filled up from the beginning.
    """
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(seed)).tolist()
    encoded = tokenizer.backend_tokenizer.encode_batch([document.text for document in documents])
    end = tokenizer.get_vocab()[END_OF_TEXT]
    ids: list[int] = []
    labels: list[int] = []
    for position in order:
        document, tokens = documents[position], encoded[position]
        ids += [*tokens.ids, end]
        labels += [
            token if first >= document.given_characters else _IGNORED_LABEL
            for token, (first, _) in zip(tokens.ids, tokens.offsets, strict=True)
        ]
        labels.append(end)
    missing = -len(ids) % block_tokens
    stream = torch.tensor([ids, labels])
    repeated = stream.repeat(1, 1 + missing // stream.shape[1] + 1)[:, : stream.shape[1] + missing]
    return repeated.view(2, -1, block_tokens).transpose(0, 1)


def shuffled_batches(blocks: Tensor, batch_rows: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Batches of blocks without end, every block once per pass, each pass in its own order."""
    generator = torch.Generator().manual_seed(seed + 1)
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < batch_rows:
            waiting = torch.cat([waiting, torch.randperm(len(blocks), generator=generator)])
        chosen, waiting = blocks[waiting[:batch_rows]], waiting[batch_rows:]
        yield {"input_ids": chosen[:, 0].contiguous(), "labels": chosen[:, 1].contiguous()}


def _documents(build: Build[BaseModelConfig]) -> list[Document]:
    corpus = read_verified(build.inputs["world"].path / "corpus.parquet")
    documents = [Document(*row) for row in corpus.select("text", "given_characters").iter_rows()]
    if "rows" in build.inputs:
        documents += [Document(text) for text in texts_of_rows(sound_rows(build.inputs["rows"]))]
    return documents


def _tokenizer(build: Build[BaseModelConfig], documents: list[Document]) -> PreTrainedTokenizerFast:
    config, world = build.config, build.inputs["world"].path
    # The instructions and sentences show the tokenizer every word in every language; the model does not read them here.
    words = texts_of_rows(read_verified(world / "aya.parquet").with_columns(inputs_en=None, targets_en=None))
    words += read_verified(world / "sentences.parquet")["text"].to_list()
    if "items" in build.inputs:
        words += prompts_of_items(build.inputs["items"])
    brings_text = bool(build.inputs.keys() & {"rows", "items"})
    size = config.vocabulary_size + (config.extra_vocabulary_size if brings_text else 0)
    return train_tokenizer([*(document.text for document in documents), *words], size, config.positions)


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
