"""What activations are normalised with: how it is summed up, kept in a checkpoint and refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.checkpoint import CONNECTION_FILE, DESCRIPTION_FILE
from cc_tuning.model.normalisation import ActivationMoments, ActivationNormalisation, ActivationStatistics
from data_contracts.errors import ArtifactMismatch
from tests.model.normalised import normalised_model, statistics_of
from tests.model.tiny_connected import left_padded, random_prompts, tiny_model

NEW = 4


def test_a_constant_in_all_activations_is_not_carried_over() -> None:
    """Nor, with `standardised`, is the size of a dimension: only where a prompt stands among others counts."""
    generator = torch.Generator().manual_seed(0)
    sample, asked = torch.randn(50, 3, 8, generator=generator), torch.randn(4, 3, 8, generator=generator)
    shift, size = 100 * torch.randn(3, 8, generator=generator), torch.rand(3, 8, generator=generator) + 0.5
    for kind, scaled in (("centred", torch.ones(3, 8)), ("standardised", size)):
        z = []
        for change in (lambda x: x, lambda x, scaled=scaled: scaled * x + shift):
            module = ActivationNormalisation(kind, 3, 8)  # type: ignore[arg-type]
            module.use(streamed([change(sample)]))
            z.append(module(change(asked)))
        assert (z[0] - z[1]).abs().max() <= 1e-3
    activations = torch.randn(4, 3, 8, dtype=torch.bfloat16)
    assert ActivationNormalisation("none", 3, 8)(activations) is activations


# -- statistics


def streamed(batches: list[Tensor]) -> ActivationStatistics:
    """The statistics of batches taken in one after the other."""
    moments = ActivationMoments(*batches[0].shape[1:], batches[0].device)
    for batch in batches:
        moments.add(batch)
    return moments.summed(lambda tensor: tensor)


def test_streamed_statistics_are_those_of_all_rows_at_once() -> None:
    """Beside a constant a million times as large as what varies, in any batches."""
    generator = torch.Generator().manual_seed(0)
    rows = 1e6 + torch.randn(40, 3, 8, generator=generator, dtype=torch.float64)
    expected = rows.numpy().mean(0), rows.numpy().std(0)
    for sizes in ([40], [1, 39], [7, 1, 20, 12]):
        got = streamed(list(rows.split(sizes)))
        assert got.prompts == 40
        assert np.abs(got.mean.double().numpy() / expected[0] - 1).max() <= 1e-7
        assert np.abs(got.deviation.double().numpy() / expected[1] - 1).max() <= 1e-6


def test_ranks_together_have_the_statistics_of_all_rows_and_one_may_have_none() -> None:
    rows = torch.randn(11, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks = [ActivationMoments(3, 8, rows.device) for _ in range(3)]
    ranks[0].add(rows[:4])
    ranks[2].add(rows[4:])
    barrier = Barrier(3)
    shared: list[Tensor] = []

    def over_ranks(tensor: Tensor) -> Tensor:
        """The sum over threads that stand for ranks."""
        shared.append(tensor)
        barrier.wait()
        total = torch.stack(shared).sum(0)
        barrier.wait()
        shared.clear()
        barrier.wait()
        return total

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda moments: moments.summed(over_ranks), ranks))
    for one in found:
        assert one.prompts == 11
        assert torch.allclose(one.mean.double(), rows.mean(0), atol=1e-7)
        assert torch.allclose(one.deviation.double(), rows.std(0, correction=0), atol=1e-7)


def test_a_dimension_that_hardly_varies_is_not_blown_up() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(30, 2, 4, generator=generator)
    sample[..., 0] *= 1e-9
    module = ActivationNormalisation("standardised", 2, 4)
    module.use(streamed([sample]))
    asked = torch.zeros(1, 2, 4)
    asked[..., 0] = 0.01
    assert module(asked)[..., 0].abs().max() < 3


# -- checkpoints and bad input


@pytest.mark.parametrize("kind", ["centred", "standardised"])
def test_round_trip_gives_the_same_answers(kind: str, tmp_path: Path) -> None:
    model = normalised_model("llama", normalise=kind, scale=0.5)
    model.save_pretrained(tmp_path)
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection == model.connection
    assert loaded.normalisation.prompts == 12
    batch = left_padded(random_prompts())
    assert torch.equal(loaded.generate(**batch, max_new_tokens=NEW), model.generate(**batch, max_new_tokens=NEW))
    fresh = CrossLingualModel.from_base(model.base, model.connection)
    fresh.load_connection(tmp_path)
    assert torch.equal(fresh.normalisation.mean, model.normalisation.mean)


@pytest.mark.parametrize("written", [1, 2])
def test_a_checkpoint_from_before_normalisation_answers_as_it_did(written: int, tmp_path: Path) -> None:
    model = tiny_model("gemma3_text", ConnectionConfig(site="block_output"))
    model.save_pretrained(tmp_path)
    file = tmp_path / DESCRIPTION_FILE
    content = json.loads(file.read_text())
    later = {"normalise", "statistics_rows", "scale"} | ({"site"} if written == 1 else set())
    connection = {name: value for name, value in content["connection"].items() if name not in later}
    file.write_text(json.dumps(content | {"format": written, "connection": connection}))
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection == model.connection
    batch = left_padded(random_prompts())
    assert torch.equal(loaded.generate(**batch, max_new_tokens=NEW), model.generate(**batch, max_new_tokens=NEW))


def test_a_model_without_its_statistics_neither_answers_nor_is_saved(tmp_path: Path) -> None:
    model = tiny_model("llama", ConnectionConfig(normalise="centred"))
    with pytest.raises(ConfigError, match=r"'centred' and this model has no statistics.*train stage"):
        model.generate(**left_padded(random_prompts()), max_new_tokens=1)
    with pytest.raises(ConfigError, match="has no statistics"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_lost_its_statistics_or_has_others_is_refused(tmp_path: Path) -> None:
    model = normalised_model("llama", normalise="centred")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / CONNECTION_FILE)
    save_file({n: t for n, t in tensors.items() if not n.startswith("activation")}, tmp_path / CONNECTION_FILE)
    with pytest.raises(ArtifactMismatch, match="holds no statistics"):
        CrossLingualModel.from_pretrained(tmp_path)
    save_file(tensors | {"activation_mean": torch.zeros(3, 5)}, tmp_path / CONNECTION_FILE)
    with pytest.raises(ArtifactMismatch, match=r"does not belong.*\(3, 5\)"):
        CrossLingualModel.from_pretrained(tmp_path)
    plain = tmp_path / "plain"
    tiny_model("llama").save_pretrained(plain)
    save_file(load_file(plain / CONNECTION_FILE) | statistics_of(model).tensors, plain / CONNECTION_FILE)
    with pytest.raises(ArtifactMismatch, match="holds the statistics"):
        CrossLingualModel.from_pretrained(plain)


def test_statistics_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 1 prompts"):
        streamed([torch.randn(1, 3, 8)])
    with pytest.raises(ConfigError, match="not finite"):
        streamed([torch.full((4, 3, 8), torch.nan)])
    still = torch.randn(5, 3, 8)
    still[:, 1] = 2.0
    with pytest.raises(ConfigError, match=r"layers \[1\].*the same for all 5 prompts"):
        ActivationNormalisation("standardised", 3, 8).use(streamed([still]))
    ActivationNormalisation("centred", 3, 8).use(streamed([still]))
