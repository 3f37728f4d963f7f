"""What vLLM finds in its prefix cache changes no answer: each is that of the reference, which has no cache."""

from pathlib import Path

import pytest

from tests.serving.served import ask_vllm, assert_same, requests_of, served_model, transformers_answers, vllm_python

pytestmark = pytest.mark.slow

BLOCK = 32


def test_shared_prefixes_extensions_and_turns_are_answered_as_from_a_cold_start(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    # t* of `first` is in the middle of a block that its own answer fills, and the second turn begins with both.
    long = max(served.prompts, key=len)
    first = long[: 2 * BLOCK + 16]
    (answer,) = transformers_answers(served, [first])
    assert len(answer.token_ids) >= 16
    extension = first + long[10:30]
    second_turn = first + answer.token_ids + long[5:40]
    (second_answer,) = transformers_answers(served, [second_turn])
    third_turn = second_turn + second_answer.token_ids + long[20:41]
    sharing = [first[: 2 * BLOCK + 3] + long[start : start + 25] for start in (1, 7, 30)]
    asked = [[first], [extension], [second_turn], [third_turn], sharing, [first]]
    told = ask_vllm(served, tmp_path, [requests_of(prompts) for prompts in asked])
    for prompts, answers in zip(asked, told.rounds, strict=True):
        assert_same(answers, transformers_answers(served, prompts))
    # What is found of an earlier prompt are its whole blocks before t*.
    before_first, before_second = (len(prompt[:-1]) // BLOCK * BLOCK for prompt in (first, second_turn))
    found = [[answer.cached for answer in answers] for answers in told.rounds]
    assert found == [[0], [before_first], [before_first], [before_second], [2 * BLOCK] * 3, [before_first]]
    assert told.counted["vllm:prefix_cache_hits"] == sum(map(sum, found))


def test_the_switch_is_part_of_what_is_found(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "gemma3_text")
    long = max(served.prompts, key=len)
    first = long[: 2 * BLOCK + 16]
    (answer,) = transformers_answers(served, [first])
    longer = first + answer.token_ids + long[:20]
    rounds = [
        requests_of([first]),
        requests_of([longer], connection="off"),
        requests_of([longer], connection="identity"),
        requests_of([longer]),
    ]
    told = ask_vllm(served, tmp_path, rounds)
    for answers, mode in zip(told.rounds[1:], ("off", "identity", "transform"), strict=True):
        assert_same(answers, transformers_answers(served, [longer], mode))  # type: ignore[arg-type]
    assert all(answers[0].cached > 0 for answers in told.rounds[1:])
