"""What the clients of `serving_load.py` ask, with the answers that the transformers engine gives to it.

Conversations of one to three turns about nothing: words of several scripts, prompts of 20 to several hundred tokens,
each with one of the four switches. An earlier turn's answer in a later prompt is that of the reference. The model is
random and small, in float32, so its answers are sequences of bytes; greedy, of mixed lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.serving_export import export_for_serving
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from serving import write_tokenizer

Mode = Literal["transform", "off", "identity", "parallel"]
QUESTION_MODES: tuple[Mode, ...] = ("transform", "off", "transform", "identity", "transform", "parallel")
WORDS = (
    *("mji", "mkuu", "wa", "Kenya", "ni", "upi", "What", "is", "the", "capital", "of"),
    *("केन्या", "की", "राजधानी", "क्या", "है", "肯尼亚的首都", "是哪里"),
)
LONGEST = 1024
CLOSE = 1e-3


@dataclass(frozen=True)
class Question:
    """One turn as it is sent, and what comes back."""

    messages: tuple[dict[str, str], ...]
    mode: Mode
    english: tuple[int, ...]
    new_tokens: int
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    margin: float
    """The smallest difference of the two best logits over the answer's tokens."""

    @property
    def is_decided(self) -> bool:
        """Whether the answer does not hang on the order in which numbers are added up."""
        return self.margin > CLOSE

    @property
    def switch(self) -> dict[str, Any]:
        """What the request says about the connection; nothing where the default is meant."""
        if self.mode == "parallel":
            return {"english": list(self.english)}
        return {} if self.mode == "transform" else {"connection": self.mode}


Conversation = tuple[Question, ...]


def export_tiny_model(folder: Path) -> tuple[Path, Path]:
    """A random Llama of 4 layers × 128 that the connection changes: its checkpoint, and as vLLM loads it."""
    checkpoint = folder / "checkpoint"
    write_tokenizer(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # vLLM's attention on a CPU has no smaller heads
        max_position_embeddings=LONGEST,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = CrossLingualModel.from_base(LlamaForCausalLM(config), ConnectionConfig())
    model.set_transform_matrix(torch.randn(128, 128) / 128**0.5)
    model.save_pretrained(checkpoint, stop_token_ids=ChatPrompts(tokenizer).stop_token_ids)
    export_for_serving(checkpoint, folder / "served")
    return checkpoint, folder / "served"


def prepare_conversations(checkpoint: Path, count: int, modes: Sequence[Mode] = QUESTION_MODES) -> list[Conversation]:
    """That many conversations with the reference's answers, in the modes in turn; the same ones every time."""
    tokenizer = load_tokenizer(checkpoint)
    model = CrossLingualModel.from_pretrained(checkpoint, dtype=torch.float32)
    draws = [Random(number) for number in range(count)]
    return [
        _converse(model, tokenizer, draw, modes[number % len(modes)], turns=1 + number % 3)
        for number, draw in enumerate(draws)
    ]


def _converse(
    model: CrossLingualModel, tokenizer: PreTrainedTokenizerBase, draw: Random, mode: Mode, turns: int
) -> Conversation:
    messages: list[dict[str, str]] = []
    questions = []
    for _ in range(turns):
        text = " ".join(draw.choices(WORDS, k=draw.choice((1, 4, 12, 40))))
        messages.append({"role": "user", "content": text})
        prompt = _rendered(tokenizer, messages)
        english = _rendered(tokenizer, [{"role": "user", "content": " ".join(draw.choices(WORDS, k=9))}])
        new_tokens = draw.choice((2, 8, 24))
        answer, margin = _answer(model, prompt, mode, english, new_tokens)
        shown = (dict(message) for message in messages)
        asked = (tuple(shown), mode, tuple(english), new_tokens)
        questions.append(Question(*asked, tuple(prompt), tuple(answer), margin))
        messages.append({"role": "assistant", "content": tokenizer.decode(answer, skip_special_tokens=True)})
    return tuple(questions)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _answer(
    model: CrossLingualModel, prompt: list[int], mode: Mode, english: list[int], new_tokens: int
) -> tuple[list[int], float]:
    """The greedy answer up to a stop token, and how clear the closest of its choices was."""
    given = {"input_ids": torch.tensor([prompt])}
    if mode == "parallel":
        given |= {"english_input_ids": torch.tensor([english])}
    masks = {name.replace("input_ids", "attention_mask"): torch.ones_like(ids) for name, ids in given.items()}
    made: Any = model.generate(
        **given,
        **masks,
        connection=mode,
        max_new_tokens=new_tokens,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    answer = made.sequences[0, len(prompt) :].tolist()
    best = torch.stack([logits[0].float().topk(2).values for logits in made.logits])
    stops = model.base.generation_config.eos_token_id
    end = next((place + 1 for place, token in enumerate(answer) if token in stops), len(answer))
    return answer[:end], float((best[:end, 0] - best[:end, 1]).min())


def share_changed(checkpoint: Path, conversations: Sequence[Conversation]) -> float:
    """The share of the questions with the map that get another answer without the connection."""
    model = CrossLingualModel.from_pretrained(checkpoint, dtype=torch.float32)
    asked = [question for questions in conversations for question in questions if question.mode == "transform"]
    without = [_answer(model, list(one.prompt_ids), "off", [], one.new_tokens)[0] for one in asked]
    return sum(tuple(ids) != one.answer_ids for ids, one in zip(without, asked, strict=True)) / len(asked)
