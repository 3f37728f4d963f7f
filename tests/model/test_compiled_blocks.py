"""torch.compile of a decoder's blocks beside hooks that come and go with each pass."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from cc_tuning.training.models import compile_blocks
from tests.model.tiny_connected import tiny_model, training_batch


def wider(batch: dict[str, Tensor], columns: int, english_columns: int) -> dict[str, Tensor]:
    """The batch with more padding on the right."""
    more = {"input_ids": columns, "attention_mask": columns, "labels": columns}
    more |= {"english_input_ids": english_columns, "english_attention_mask": english_columns}
    padding = {"labels": -100}
    return {
        name: torch.nn.functional.pad(tensor, (0, more[name]), value=padding.get(name, 0)) if name in more else tensor
        for name, tensor in batch.items()
    }


@pytest.mark.parametrize("recomputes", [False, True], ids=["kept", "recomputed"])
def test_other_lengths_and_other_hooks_compile_nothing_again(recomputes: bool) -> None:
    torch._dynamo.reset()
    model, plain = tiny_model("llama").train(), tiny_model("llama").train()
    if recomputes:
        model.activation_checkpointing_enable()
    compile_blocks(model.base, "aot_eager")
    noise = torch.zeros(3, 3)
    for columns, english_columns in ((0, 0), (3, 1), (1, 2)):
        model(**wider(training_batch(), columns, english_columns), gumbel_noise=noise).loss.backward()
    counters.clear()
    for columns, english_columns in ((7, 5), (2, 11), (20, 3)):
        batch = wider(training_batch(), columns, english_columns)
        got, expected = (each(**batch, gumbel_noise=noise).loss for each in (model, plain))
        got.backward()
        assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    assert counters["stats"]["unique_graphs"] == 0
