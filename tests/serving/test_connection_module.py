"""The plugin's own computation of `v` against that of the model that was trained."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cc_tuning_vllm.connection import Connection
from cc_tuning_vllm.plugin import ARCHITECTURES as KNOWN
from cc_tuning_vllm.settings import ConnectionSettings
from safetensors.torch import load_file
from transformers import AutoConfig

from cc_tuning.model import ConnectionConfig
from cc_tuning.model.normalisation import ActivationStatistics
from cc_tuning.model.serving_export import ARCHITECTURES, export_for_serving
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.text.prompts import load_tokenizer
from tests.conftest import saved_tokenizer
from tests.model.tiny_connected import HIDDEN, LAYERS, tiny_model

ROWS = 16
CONNECTIONS = {
    "the paper's": {},
    "mean": {"selector": "mean"},
    "random": {"selector": "random", "seed": 3},
    "centred": {"normalise": "centred"},
    "standardised": {"normalise": "standardised", "selector": "mean"},
    "scaled": {"scale": 0.5, "normalise": "standardised"},
    "of a learned length": {"scale": "learned", "normalise": "centred"},
}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) / shape[0] ** 0.5


MAPS = {
    "one matrix": TransformMatrix(random(HIDDEN, HIDDEN)),
    "one matrix and intercept": TransformMatrix(random(HIDDEN, HIDDEN), random(HIDDEN)),
    "a matrix for each layer": TransformMatrix(random(LAYERS, HIDDEN, HIDDEN), random(LAYERS, HIDDEN)),
    "from all layers": TransformMatrix(
        random(LAYERS * HIDDEN, 5), random(LAYERS, HIDDEN), random(5, LAYERS * HIDDEN), features="all_layers"
    ),
}


@pytest.mark.parametrize("name", CONNECTIONS)
@pytest.mark.parametrize("form", MAPS)
def test_the_exported_connection_adds_the_vector_of_the_trained_model(tmp_path: Path, name: str, form: str) -> None:
    model = tiny_model("llama", ConnectionConfig(**CONNECTIONS[name]))
    if model.connection.normalise != "none":
        model.normalisation.use(ActivationStatistics(random(LAYERS, HIDDEN), random(LAYERS, HIDDEN).abs() + 0.1, 9))
    if model.connection.learns_scale:
        torch.nn.init.constant_(model.decision_maker.get_parameter("log_scale"), -0.4)
    model.set_transform(MAPS[form])
    model.save_pretrained(tmp_path / "ckpt")
    load_tokenizer(saved_tokenizer(tmp_path / "ckpt", "llama3"), "llama3").save_pretrained(tmp_path / "ckpt")
    export_for_serving(tmp_path / "ckpt", tmp_path / "served")

    settings = ConnectionSettings.read_from(AutoConfig.from_pretrained(tmp_path / "served"))
    served = Connection(settings, LAYERS, HIDDEN)
    tensors = load_file(tmp_path / "served" / "connection.safetensors")
    served.load_state_dict({key.removeprefix("connection."): tensor for key, tensor in tensors.items()})

    own, embedding, keys = random(ROWS, LAYERS, HIDDEN), random(ROWS, HIDDEN), torch.arange(ROWS) * 7919
    keeps_own = torch.arange(ROWS) % 4 == 0
    for kept, source in ((keeps_own, own), (~keeps_own, model.predicted_english(own))):
        expected = model.decide(source, embedding, keys, None).vector
        got = served(own, embedding, keys, keeps_own)
        # Both are multiplied by the length of `f_1` and a share, where there is one, when they are added.
        torch.testing.assert_close((settings.scale or 1) * got[kept], (model.connection.share or 1) * expected[kept])


def test_export_and_plugin_name_the_same_architectures() -> None:
    assert set(ARCHITECTURES.values()) == set(KNOWN)


@pytest.mark.parametrize(
    ("section", "named"),
    [(None, "no section"), ({"format": 9}, "format 9"), ({"format": 1, "selector": "oldest"}, "'oldest'")],
)
def test_a_section_that_the_plugin_cannot_read_is_refused(section: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ConnectionSettings.read_from(SimpleNamespace(cc_tuning=section))
