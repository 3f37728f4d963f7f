"""The smallest real model: a byte-level tokenizer learnt from a few lines and a random three-layer Llama."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cc_tuning.text.prompts import load_tokenizer

LLAMA_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"]
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LINES = ["What is the capital of Kenya?", "Mji mkuu wa Kenya ni upi?", "केन्या की राजधानी क्या है?", "肯尼亚的首都是哪里？"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine or this call cannot run, and say so."""
    missing = {
        "slow": None if config.getoption("--slow") else "needs --slow",
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
        "network": "needs the Hugging Face hub" if os.environ.get("HF_HUB_OFFLINE") == "1" else None,
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def learnt_tokenizer(special_tokens: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of about 300 tokens; `<think>` is an added token that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_special_tokens(special_tokens)
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return tokenizer


def saved_tokenizer(folder: Path, family: str) -> Path:
    """The directory of a tokenizer without a chat template, as base models come."""
    is_llama = family == "llama3"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learnt_tokenizer(LLAMA_TOKENS if is_llama else QWEN_TOKENS),
        bos_token="<|begin_of_text|>" if is_llama else None,
        eos_token="<|end_of_text|>" if is_llama else "<|endoftext|>",
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save_tokenizer() -> Callable[[Path, str], Path]:
    """`save_tokenizer(folder, "llama3" | "qwen25")`, for tests that need a tokenizer of their own."""
    return saved_tokenizer


@pytest.fixture(scope="session")
def tiny_llama_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory: Llama, 3 layers, hidden size 32, Llama-3-style tokenizer without a template."""
    folder = saved_tokenizer(tmp_path_factory.mktemp("tiny_llama"), "llama3")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_llama_directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of `tiny_llama_directory` with the Llama 3 chat template."""
    return load_tokenizer(tiny_llama_directory, "llama3")
