"""What a batch trains, and where the connection goes."""

import pytest
import torch

from cc_tuning.errors import PromptNotFound
from cc_tuning.text.prompts import ChatPrompts
from tests.training.sft_collators import connected, responses

PAD = 9
ROWS = [
    {"input_ids": [1, 2, 3, 4, 5], "prompt_length": 3, "english_input_ids": [1, 6]},
    {"input_ids": [1, 2, 7], "prompt_length": 2, "english_input_ids": [1, 6, 6, 8]},
]


def test_loss_is_on_the_response_only() -> None:
    batch = responses(PAD)(ROWS)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 7, PAD, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 4, 5], [-100, -100, 7, -100, -100]]
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


def test_a_row_that_only_keeps_a_rank_in_step_has_no_label() -> None:
    batch = responses(PAD)([{"input_ids": [1, 2, 3], "prompt_length": 3}])
    assert batch["labels"].tolist() == [[-100, -100, -100]]


def test_end_of_turn_is_trained(tiny_tokenizer: object) -> None:
    prompts = ChatPrompts(tiny_tokenizer)  # type: ignore[arg-type]
    example = prompts.encode_example("Mji mkuu?", "Nairobi")
    row = {"input_ids": example.input_ids, "prompt_length": example.prompt_length}
    # The padding id is the end of turn itself: only the mask tells them apart.
    longer = {"input_ids": [*example.input_ids, 5, 5], "prompt_length": example.prompt_length}
    labels = responses(prompts.end_of_turn_id)([row, longer])["labels"][0]
    assert labels[labels != -100].tolist() == example.input_ids[example.prompt_length :]
    assert labels[labels != -100][-1] == prompts.end_of_turn_id


def test_connection_positions_come_from_prompt_lengths_and_english_is_padded_by_itself() -> None:
    batch = connected(PAD, offset=0)(ROWS)
    assert batch["connection_positions"].tolist() == [2, 1]
    assert batch["english_positions"].tolist() == [1, 3]
    assert batch["english_input_ids"].tolist() == [[1, 6, PAD, PAD], [1, 6, 6, 8]]
    assert batch["english_attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(batch["labels"], responses(PAD)(ROWS)["labels"])


def test_offset_moves_both_positions() -> None:
    batch = connected(PAD, offset=1)(ROWS)
    assert (batch["connection_positions"].tolist(), batch["english_positions"].tolist()) == ([1, 0], [0, 2])


def test_prompt_shorter_than_the_offset_is_not_found() -> None:
    with pytest.raises(PromptNotFound):
        connected(PAD, offset=2)(ROWS)
