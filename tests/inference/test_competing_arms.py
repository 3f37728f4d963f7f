"""Every way of bringing English to a prompt side by side, in the world of one word, with intervals.

The English prompt says the word and the prompt does not, so what an arm gains over its own model without English is
content. A translator that is wrong in a third of the prompts stands for a real one.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel
from cc_tuning.training.objectives.distil import ConnectionDistillation
from tests.inference.english_words import (
    FIRST_WORD,
    WORDS,
    Rows,
    asked,
    batch_of,
    drawn_rows,
    english_reader,
    statistics_of_english,
)
from tests.inference.test_content_of_the_connection import interval_of

ITEMS, STEPS, WRONG = 300, 300, 1 / 3
CONNECTION = ConnectionConfig(selector="mean", normalise="standardised", scale=1.0)
CHANCE = -float(np.log(WORDS))

LossOf = Callable[[nn.Module, Rows], Tensor]


def trained(model: nn.Module, loss_of: LossOf) -> nn.Module:
    """`model` after as many steps as every arm has, on the same rows."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(1)
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, drawn_rows(64, generator, is_content=True)).backward()
        optimizer.step()
    return model.eval()


def connected() -> CrossLingualModel:
    """The English reader with a connection, not trained yet."""
    model = CrossLingualModel.from_base(deepcopy(english_reader(400, 0)), CONNECTION)
    model.normalisation.use(statistics_of_english(model, drawn_rows(512, torch.Generator().manual_seed(2), True)))
    return model


def loss_in_context(model: nn.Module, rows: Rows) -> Tensor:
    ids = torch.cat([rows.english, rows.prompts, rows.words[:, None]], dim=1)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = rows.words
    loss: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    return loss


def loss_distilled(model: nn.Module, rows: Rows) -> Tensor:
    objective, batch = ConnectionDistillation(1.0), batch_of(*rows)
    return objective.loss(model, batch, objective.count(batch)).loss


def mistranslated(rows: Rows) -> Rows:
    """The rows with English prompts of a translator that says another word in every third of them."""
    generator = torch.Generator().manual_seed(5)
    is_wrong = torch.rand(len(rows.words), generator=generator) < WRONG
    shift = torch.randint(1, WORDS, rows.words.shape, generator=generator)
    other = FIRST_WORD + (rows.words - FIRST_WORD + shift) % WORDS
    said = torch.where(is_wrong, other, rows.words)
    return rows._replace(english=torch.where(rows.english == rows.words[:, None], said[:, None], rows.english))


def of(model: nn.Module, prompts: list[Prompt], rows: Rows, mode: ConnectionMode) -> np.ndarray:
    """The log-likelihood of each row's word."""
    scores = score_candidates(model, prompts, [[[int(word)]] for word in rows.words], mode)  # type: ignore[arg-type]
    return np.array([score.log_likelihood for (score,) in scores])


def with_text(rows: Rows) -> list[Prompt]:
    """Prompts with their English version before them."""
    whole = torch.cat([rows.english, rows.prompts], dim=1)
    return [Prompt(str(row), ids) for row, ids in enumerate(whole.tolist())]


@pytest.fixture(scope="module")
def arms() -> dict[str, np.ndarray]:
    """By arm, the log-likelihoods of the words of new rows."""
    rows = drawn_rows(ITEMS, torch.Generator().manual_seed(99), True)
    pivots = mistranslated(rows)
    reader = trained(connected(), lambda model, each: model(**batch_of(*each)).loss)
    distilled = trained(connected(), loss_distilled)
    in_context = trained(deepcopy(english_reader(400, 0)), loss_in_context)
    own = asked(rows)[0]
    return {
        "off": of(reader, own, rows, "off"),
        "parallel": of(reader, own, rows, "parallel"),
        "other": of(reader, asked(rows, 1)[0], rows, "other"),
        "pivot": of(reader, asked(pivots)[0], rows, "parallel"),
        "context": of(in_context, with_text(rows), rows, "off"),
        "pivot_context": of(in_context, with_text(pivots), rows, "off"),
        "no context": of(in_context, own, rows, "off"),
        "distilled, off": of(distilled, own, rows, "off"),
        "distilled, parallel": of(distilled, own, rows, "parallel"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("better", "worse", "least"),
    [
        ("parallel", "other", 3.0),
        ("parallel", "off", 1.0),
        ("parallel", "pivot", 0.3),
        ("pivot", "other", 1.0),
        ("context", "no context", 1.0),
        ("context", "pivot_context", 0.3),
        ("distilled, parallel", "distilled, off", 1.0),
    ],
)
def test_content_passes_as_far_as_the_english_is_right(
    arms: dict[str, np.ndarray], better: str, worse: str, least: float
) -> None:
    low, _ = interval_of(arms[better] - arms[worse])
    assert low > least, {name: round(float(values.mean()), 2) for name, values in arms.items()}


@pytest.mark.slow
def test_what_the_prompt_does_not_say_is_not_distilled_into_it(arms: dict[str, np.ndarray]) -> None:
    """The model without English is as good as guessing and no better; asked through the connection alone in training,
    it is far worse than that."""
    assert CHANCE - 0.5 < arms["distilled, off"].mean() < CHANCE
    assert interval_of(arms["distilled, off"] - arms["off"])[0] > 1


def test_the_translator_is_wrong_in_a_third_of_the_prompts_and_nowhere_else() -> None:
    rows = drawn_rows(3000, torch.Generator().manual_seed(7), True)
    pivots = mistranslated(rows)
    says = (pivots.english == rows.words[:, None]).any(1)
    assert float(says.float().mean()) == pytest.approx(1 - WRONG, abs=0.04)
    is_word = (pivots.english >= FIRST_WORD) & (pivots.english < FIRST_WORD + WORDS)
    assert (is_word.sum(1) == 1).all()
    assert torch.equal(pivots.english[says], rows.english[says])
