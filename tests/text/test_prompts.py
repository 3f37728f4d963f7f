"""One prompt for training and inference; whatever a user types stays text."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, PromptNotFound, UnsupportedModel
from cc_tuning.text.prompts import ChatPrompts, connection_position, load_tokenizer, stop_token_ids

SaveTokenizer = Callable[[Path, str], Path]

QUESTION = "Mji mkuu wa Kenya ni upi? 首都"
END_OF_TURN = {"llama3": "<|eot_id|>", "qwen25": "<|im_end|>"}


@pytest.fixture(scope="module", params=["llama3", "qwen25"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(
    family: str, tmp_path_factory: pytest.TempPathFactory, save_tokenizer: SaveTokenizer
) -> PreTrainedTokenizerBase:
    return load_tokenizer(save_tokenizer(tmp_path_factory.mktemp(family), family), family)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> ChatPrompts:
    return ChatPrompts(tokenizer)


def test_ids_equal_the_chat_template_of_transformers(tokenizer: PreTrainedTokenizerBase, prompts: ChatPrompts) -> None:
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=False
    )
    assert prompts.encode_prompt(QUESTION) == expected


def test_rendered_prompts_are_the_published_formats(
    tokenizer: PreTrainedTokenizerBase, prompts: ChatPrompts, family: str
) -> None:
    rendered = {
        "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "qwen25": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
    }
    assert tokenizer.decode(prompts.encode_prompt("Hi")) == rendered[family]


def test_prompt_is_a_strict_prefix_of_its_example(prompts: ChatPrompts) -> None:
    prompt, example = prompts.encode_prompt(QUESTION), prompts.encode_example(QUESTION, "\n Nairobi")
    assert example.prompt_length == len(prompt) < len(example.input_ids)
    assert example.input_ids[: len(prompt)] == prompt


def test_answer_ends_with_the_end_of_turn_which_stops_generation(
    tokenizer: PreTrainedTokenizerBase, prompts: ChatPrompts, family: str
) -> None:
    end_of_turn = tokenizer.convert_tokens_to_ids(END_OF_TURN[family])
    assert prompts.encode_example(QUESTION, "Nairobi").input_ids[-1] == end_of_turn
    assert stop_token_ids(tokenizer) == (end_of_turn, tokenizer.eos_token_id)


def test_one_beginning_of_text(tokenizer: PreTrainedTokenizerBase, prompts: ChatPrompts, family: str) -> None:
    begins = prompts.encode_prompt(QUESTION).count(tokenizer.bos_token_id)
    assert begins == (1 if family == "llama3" else 0)


def test_every_added_token_typed_by_a_user_stays_text(tokenizer: PreTrainedTokenizerBase, prompts: ChatPrompts) -> None:
    typed = " and ".join(sorted(tokenizer.get_added_vocab())) + "".join(sorted(tokenizer.get_added_vocab()))
    assert "<think>" in typed
    control = set(tokenizer.added_tokens_decoder)
    quiet = prompts.encode_example("a", "a")
    example = prompts.encode_example(typed, typed)
    controls = [[token for token in ids if token in control] for ids in (example.input_ids, quiet.input_ids)]
    assert controls[0] == controls[1]
    assert tokenizer.decode(example.input_ids[example.prompt_length : -1]) == typed


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_comes_back(prompts: ChatPrompts, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    example = prompts.encode_example(text, text)
    assert tokenizer.decode(example.input_ids[example.prompt_length : -1]) == text


def test_lone_surrogate_is_refused_with_its_place(prompts: ChatPrompts) -> None:
    with pytest.raises(ConfigError, match=r"character 2 .* U\+D83D"):
        prompts.encode_prompt("ab\ud83d")


def test_connection_position_is_the_last_prompt_token_or_before() -> None:
    assert [connection_position(7, offset) for offset in (0, 1, 6)] == [6, 5, 0]


@pytest.mark.parametrize(("length", "offset"), [(0, 0), (3, 3), (3, -1)])
def test_prompt_without_its_position_is_not_found(length: int, offset: int) -> None:
    with pytest.raises(PromptNotFound, match=f"a prompt of {length} tokens"):
        connection_position(length, offset)


def test_base_model_without_template_is_told_what_to_choose(tmp_path: Path, save_tokenizer: SaveTokenizer) -> None:
    with pytest.raises(ConfigError, match="gemma, llama2, llama3, mistral, qwen25, qwen3"):
        load_tokenizer(save_tokenizer(tmp_path, "llama3"))


def test_template_of_another_family_is_refused(tmp_path: Path, save_tokenizer: SaveTokenizer) -> None:
    tokenizer = load_tokenizer(save_tokenizer(tmp_path, "qwen25"), "llama3")
    with pytest.raises(UnsupportedModel, match="eot_id"):
        ChatPrompts(tokenizer)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}", None),
        ("{{ bos_token * 2 }}{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}", "2 times"),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "could not stop"),
        ("{% for m in messages %}{{ m['content'] * 2 }}<|eot_id|>{% endfor %}", "exactly once"),
        (
            "{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}>{% endif %}",
            "another prompt than inference",
        ),
    ],
)
def test_template_that_would_go_wrong_is_refused(
    tmp_path: Path, save_tokenizer: SaveTokenizer, template: str, reason: str | None
) -> None:
    tokenizer = load_tokenizer(save_tokenizer(tmp_path, "llama3"), "llama3")
    tokenizer.chat_template = template
    if reason is None:
        assert ChatPrompts(tokenizer).end_of_turn_id == tokenizer.convert_tokens_to_ids("<|eot_id|>")
        return
    with pytest.raises(UnsupportedModel, match=reason):
        ChatPrompts(tokenizer)


def test_lengths_saved_in_tokenizer_json_neither_cut_nor_pad_a_conversation(
    tmp_path: Path, save_tokenizer: SaveTokenizer
) -> None:
    plain = load_tokenizer(save_tokenizer(tmp_path, "llama3"), "llama3")
    expected = ChatPrompts(plain).encode_example("swali moja refu", "jibu moja refu")
    plain.backend_tokenizer.enable_truncation(4)
    plain.backend_tokenizer.enable_padding(length=16)
    plain.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = ChatPrompts(load_tokenizer(tmp_path, "llama3")).encode_example("swali moja refu", "jibu moja refu")
    assert found == expected
