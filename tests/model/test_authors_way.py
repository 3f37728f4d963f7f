"""What the benchmarks compare speed with computes the same thing, once its noise is taken out."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.model.tiny_connected import left_padded, random_prompts, tiny_model, training_batch


@pytest.fixture
def authors_way(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Any:
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "benchmarks")
    monkeypatch.setattr(
        nn.functional,
        "gumbel_softmax",
        lambda logits, **_: nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits),
    )
    return pytest.importorskip("authors_way")


def test_answers_are_equal_without_the_noise(authors_way: Any) -> None:
    model = tiny_model("llama")
    for row in random_prompts():
        expected = model.generate(**left_padded([row]), max_new_tokens=6, do_sample=False)[0, len(row) :]
        assert authors_way.answer(model, torch.tensor(row), 6) == expected.tolist()


def test_losses_are_equal_without_the_noise(authors_way: Any) -> None:
    model, batch = tiny_model("qwen2"), training_batch()
    loss = authors_way.training_loss(model, batch, english_gradient=False)
    torch.testing.assert_close(loss, model(**batch).loss, rtol=1e-5, atol=1e-5)
