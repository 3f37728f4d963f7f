"""The chat formats of model families, on tokenizers that mark where words start as those families do."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as rendering
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.text.chat_templates import ChatTemplate
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer

LINES = [
    "Habari ya asubuhi, dunia",
    "Mji mkuu wa Kenya ni upi? Nairobi.",
    "What is the capital of Kenya?",
    "肯尼亚的首都",
] * 4
MARKS: dict[str, tuple[normalizers.Normalizer | None, pre_tokenizers.PreTokenizer | None]] = {
    # Llama 2 and Mistral as first published: a mark before every stretch between control tokens.
    "prepended": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    # The same models since: a mark at the beginning of a string alone.
    "first": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "always": (None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True)),
    # Gemma: blanks are written as marks, and none is added.
    "none": (normalizers.Replace(" ", "▁"), None),
}
CONTROL = {
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
    "llama2": ["<s>", "</s>"],
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}
FAMILIES = [
    ("gemma", "none"), ("mistral", "first"), ("mistral", "prepended"), ("mistral", "always"),
    ("llama2", "prepended"), ("llama2", "first"), ("llama2", "always"), ("qwen3", "bytes"),
]  # fmt: skip
PUBLISHED = {
    "gemma": ("<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "Yo<end_of_turn>\n"),
    "mistral": ("<s>[INST] Hi[/INST]", " Yo</s>"),
    "llama2": ("<s>[INST] Hi [/INST]", " Yo </s>"),
    "qwen3": ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "Yo<|im_end|>\n"),
}
"""The prompt for `Hi` and what follows it in a conversation: the model cards of google/gemma-2-2b-it and Qwen3 with
`enable_thinking=False`, Mistral's table of its tokenizers (v3), and `chat_completion` of Llama 2's own code."""


def learnt(control: list[str], marks: str) -> Tokenizer:
    """A BPE tokenizer of about 350 tokens, with bytes for what it has not learnt."""
    if marks == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=350, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        normalizer, pre_tokenizer = MARKS[marks]
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        if pre_tokenizer is not None:
            tokenizer.pre_tokenizer = pre_tokenizer
        in_bytes = [f"<0x{value:02X}>" for value in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=["<unk>", *in_bytes], show_progress=False)
    # Word by word, as SentencePiece learns: without it whole lines would become tokens of these few.
    texts = LINES if marks == "bytes" else [f"▁{word}" for line in LINES for word in line.split()]
    tokenizer.train_from_iterator(texts, trainer)
    # The trainer's special tokens, bytes among them, are added ones; in published tokenizers they are words as others.
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | {"added_tokens": []}))
    tokenizer.add_special_tokens(control)
    if marks == "bytes":
        tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return tokenizer


def saved(folder: Path, family: str, marks: str, template: str | None = None) -> Path:
    control = CONTROL[family]
    bos, eos = (None, control[0]) if family == "qwen3" else (control[0], control[1])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learnt(control, marks), bos_token=bos, eos_token=eos, chat_template=template
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES, ids="-".join)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    family, marks = request.param
    loaded = load_tokenizer(saved(tmp_path_factory.mktemp(family), family, marks), family)
    loaded.family = family
    return loaded


def ids_of(tokenizer: PreTrainedTokenizerBase, *spoken: str) -> list[int]:
    """What transformers makes of the conversation with the family's template."""
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), spoken, strict=False)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=len(spoken) == 1)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def test_templates_write_the_published_formats(tokenizer: PreTrainedTokenizerBase) -> None:
    question, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
    prompt, rest = PUBLISHED[tokenizer.family]
    assert tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True) == prompt
    assert tokenizer.apply_chat_template([question, answer], tokenize=False) == prompt + rest


WORDS = st.lists(st.text(alphabet="abehikmnrwyKN你的ñ,?", min_size=1, max_size=8), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(question=WORDS, answer=WORDS)
def test_ids_are_those_of_the_whole_conversation(
    tokenizer: PreTrainedTokenizerBase, question: str, answer: str
) -> None:
    prompts = ChatPrompts(tokenizer)
    example = prompts.encode_example(question, answer)
    whole = ids_of(tokenizer, question, answer)
    assert prompts.encode_prompt(question) == ids_of(tokenizer, question)
    assert example.input_ids == whole[: len(example.input_ids)]
    assert example.input_ids[: example.prompt_length] == prompts.encode_prompt(question)
    assert example.input_ids[-1] == prompts.end_of_turn_id


def test_a_control_token_typed_in_a_text_stays_text(tokenizer: PreTrainedTokenizerBase) -> None:
    prompts, control = ChatPrompts(tokenizer), set(tokenizer.added_tokens_decoder)
    typed = " and ".join(token for token in tokenizer.get_added_vocab() if not token.startswith("<0x"))
    counts = [
        sum(token in control for token in prompts.encode_example(text, text).input_ids) for text in ("a", typed)
    ]  # fmt: skip
    assert counts[0] == counts[1]


def of_llama2(folder: Path, template: str, marks: str = "first") -> PreTrainedTokenizerBase:
    return load_tokenizer(saved(folder, "llama2", marks, template))


DATED = "<s>Today is {{ strftime_now('%Y-%m-%d') }}.</s>{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"


def test_a_dated_template_gives_the_same_prompt_on_all_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = of_llama2(tmp_path, DATED)
    prompts, theirs = [], []
    for day in (datetime(2025, 1, 1), datetime(2026, 2, 10)):
        monkeypatch.setattr(rendering, "datetime", type("Clock", (), {"now": lambda day=day: day}))
        prompts.append(ChatPrompts(tokenizer).encode_prompt("Habari"))
        theirs.append(ids_of(tokenizer, "Habari"))
    assert prompts[0] == prompts[1]
    assert theirs[0] != theirs[1]  # what transformers alone would make of it


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n"
    "{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_a_template_that_can_think_is_asked_not_to(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(saved(tmp_path, "qwen3", "bytes", THINKING))
    assert tokenizer.decode(ChatPrompts(tokenizer).encode_prompt("Hi")) == PUBLISHED["qwen3"][0]


def test_a_beginning_of_text_that_opens_every_turn_is_no_mistake(tmp_path: Path) -> None:
    """SmolLM2-Instruct: ChatML whose `<|im_start|>` is the token that begins a text."""
    folder = saved(tmp_path, "qwen3", "bytes")
    tokenizer = load_tokenizer(folder, "qwen25")
    tokenizer.bos_token = "<|im_start|>"
    prompt = ChatPrompts(tokenizer).encode_prompt("Hi")
    assert prompt.count(tokenizer.bos_token_id) == 3  # of the system's, the user's and the assistant's turn


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{% if 'x' in m['content'] %}code: {% endif %}{{ m['content'] }}</s>{% endfor %}",
         "does not look into its messages"),
        ("{{ raise_exception('a system turn is needed') }}", "a system turn is needed"),
        ("{% for m in messages %}{{ m.tools.first }}{{ m['content'] }}</s>{% endfor %}", "cannot be rendered"),
        ("{% for m in messages %}{{ m['content'] }}</s>", "cannot be rendered"),
    ],
    ids=["looks into the text", "asks for a system turn", "asks for tools", "is cut"],
)  # fmt: skip
def test_a_conditional_or_broken_template_is_refused_with_its_reason(
    tmp_path: Path, template: str, reason: str
) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        ChatPrompts(of_llama2(tmp_path, template))


def test_several_templates_without_a_default_are_named(tmp_path: Path) -> None:
    tokenizer = of_llama2(tmp_path, "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}")
    tokenizer.chat_template = {"rag": "x", "tool_use": "y"}
    with pytest.raises(ConfigError, match=r"several chat templates.*rag, tool_use.*materialization\.chat_template"):
        ChatPrompts(tokenizer)


@pytest.mark.parametrize("has_end", [True, False])
def test_a_tokenizer_pads_with_its_end_of_text_or_is_refused(tmp_path: Path, has_end: bool) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=learnt(CONTROL["qwen3"], "bytes"), eos_token="<|endoftext|>" if has_end else None
    ).save_pretrained(tmp_path)
    load: Callable[[ChatTemplate], PreTrainedTokenizerBase] = lambda template: load_tokenizer(tmp_path, template)  # noqa: E731
    if has_end:
        assert load("qwen3").pad_token == "<|endoftext|>"
    else:
        with pytest.raises(UnsupportedModel, match="neither a padding token nor an end of text"):
            load("qwen3")
