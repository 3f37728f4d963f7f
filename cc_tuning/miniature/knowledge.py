"""What a model of the miniature world can be asked for: the share of a benchmark's items that it answers, by language.

The items are open questions, whose answers have to be known. An answer counts when it is the most likely one token by
token, which is what greedy decoding would write; so no token is generated, and hundreds of items take seconds.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from cc_tuning.miniature.batches import IGNORED_LABEL, padded
from cc_tuning.text.prompts import ChatPrompts, Example, load_tokenizer
from data_contracts.parquet import read_parquet
from data_contracts.schemas import BenchmarkItem

_ASKED_AT_ONCE = 64
_OPEN_QUESTIONS = "mkqa.parquet"


def known_answers(model: Path, items: Path) -> dict[str, float]:
    """The share of the open questions in the folder `items` that the model at `model` answers, by language."""
    asked = read_parquet(items / _OPEN_QUESTIONS, BenchmarkItem)
    language_model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, trust_remote_code=False).eval()
    prompts = ChatPrompts(load_tokenizer(model))
    examples = prompts.encode_examples(asked["prompt"].to_list(), asked["answers"].list.first().to_list())
    answered = pl.Series("answered", answers_greedily(language_model, examples))
    shares = asked.select("language").with_columns(answered).group_by("language").agg(pl.col("answered").mean())
    return {language: round(share, 4) for language, share in sorted(shares.iter_rows())}


@torch.inference_mode()
def answers_greedily(model: torch.nn.Module, examples: Sequence[Example]) -> list[bool]:
    """Whether greedy decoding after each prompt would write its answer, end of turn included."""
    answered: list[bool] = []
    for first in range(0, len(examples), _ASKED_AT_ONCE):
        some = examples[first : first + _ASKED_AT_ONCE]
        ids = padded([example.input_ids for example in some], 0)
        given = [[IGNORED_LABEL] * example.prompt_length for example in some]
        answers = [example.input_ids[example.prompt_length :] for example in some]
        labels = padded([[*skipped, *answer] for skipped, answer in zip(given, answers, strict=True)], IGNORED_LABEL)
        labels = labels[:, 1:]
        scores: Tensor = model(input_ids=ids).logits[:, :-1]
        right = (scores.argmax(-1) == labels) | (labels == IGNORED_LABEL)
        answered += right.all(1).tolist()
    return answered
