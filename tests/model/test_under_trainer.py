"""The model under an unmodified `transformers.Trainer`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Trainer, TrainingArguments

from cc_tuning.model import CrossLingualModel
from tests.model.tiny_connected import tiny_model, training_batch

NOISE = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.0, -0.5], [-2.0, 4.0, 1.0]])


def rows(fixed_noise: bool) -> list[dict[str, Tensor]]:
    """The batch as a map-style data set; with noise in the rows a step does not depend on how it is split."""
    batch = training_batch() | ({"gumbel_noise": NOISE} if fixed_noise else {})
    return [{name: tensor[b] for name, tensor in batch.items()} for b in range(3)]


def trained(folder: Path, model: CrossLingualModel, resume: bool = False, **changes: Any) -> CrossLingualModel:
    fixed_noise = bool(changes.pop("fixed_noise", False))
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 3,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 11,
    }
    trainer = Trainer(model=model, args=TrainingArguments(**(settings | changes)), train_dataset=rows(fixed_noise))
    trainer.train(resume_from_checkpoint=resume)
    return model


def fresh(tied: bool = False) -> CrossLingualModel:
    return tiny_model("llama", tie_word_embeddings=tied)


def assert_same_weights(got: CrossLingualModel, expected: CrossLingualModel, tolerance: float) -> None:
    differences = {
        name: (a - b).abs().max().item()
        for (name, a), b in zip(got.named_parameters(), expected.parameters(), strict=True)
    }
    assert max(differences.values()) <= tolerance, differences


def test_accumulated_rows_give_the_token_mean_of_one_batch(tmp_path: Path) -> None:
    """Rows have 6, 2 and 4 response tokens: a mean of means would be another step."""
    together = trained(tmp_path, fresh(), fixed_noise=True, optim="sgd", learning_rate=0.1)
    split = trained(
        tmp_path,
        fresh(),
        fixed_noise=True,
        optim="sgd",
        learning_rate=0.1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=3,
    )
    assert_same_weights(split, together, 1e-5)
    assert (together.decision_maker.weight - fresh().decision_maker.weight).abs().max() > 0


def test_activation_checkpointing_argument_reaches_the_base_model(tmp_path: Path) -> None:
    plain = trained(tmp_path, fresh(), fixed_noise=True, optim="sgd")
    saved = trained(tmp_path, fresh(), fixed_noise=True, optim="sgd", activation_checkpointing=True)
    assert saved.base.is_activation_checkpointing
    assert_same_weights(saved, plain, 1e-6)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_resumed_training_ends_with_the_same_bits(tied: bool, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", fresh(tied), max_steps=4)
    saving = {"save_strategy": "steps", "save_steps": 2}
    trained(tmp_path / "part", fresh(tied), max_steps=4, **saving)
    written = load_file(tmp_path / "part" / "checkpoint-2" / "model.safetensors")
    assert ("base.lm_head.weight" in written) is not tied
    assert "decision_maker.weight" in written
    for later in (tmp_path / "part").glob("checkpoint-4"):
        later.rename(tmp_path / "away")
    resumed = trained(tmp_path / "part", fresh(tied), resume=True, max_steps=4, **saving)
    assert_same_weights(resumed, whole, 0.0)
