"""The directory that serving reads: whole, with everything in it, or refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from typer.testing import CliRunner

from cc_tuning.errors import CcTuningError, ConfigError, UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.normalisation import ActivationStatistics
from cc_tuning.model.serving_export import check_served, export_for_serving
from cc_tuning.model.transform_matrix import Features, TransformMatrix
from flows.cli import app
from tests.checkpoints import save_connected_checkpoint, save_matrix, save_plain_checkpoint

LAYERS, HIDDEN = 3, 32


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> Path:
    """Trained, and without its map."""
    return save_connected_checkpoint(tmp_path_factory.mktemp("export") / "ckpt", tiny_llama_directory, tiny_tokenizer)


def with_map(checkpoint: Path, folder: Path, transform: TransformMatrix) -> Path:
    """The checkpoint saved again, with a map in it."""
    model = CrossLingualModel.from_pretrained(checkpoint)
    model.set_transform(transform)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model.save_pretrained(folder, stop_token_ids=(1, 2))
    tokenizer.save_pretrained(folder)
    return folder


def test_the_directory_holds_every_tensor_once_and_says_where(checkpoint: Path, tmp_path: Path) -> None:
    matrix = torch.randn(HIDDEN, HIDDEN)
    made = export_for_serving(checkpoint, tmp_path / "served", save_matrix(tmp_path / "w.safetensors", matrix))
    index = json.loads((tmp_path / "served" / "model.safetensors.index.json").read_text())["weight_map"]
    held: dict[str, str] = {}
    for file in sorted((tmp_path / "served").glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            assert held.keys().isdisjoint(opened.keys())
            held |= dict.fromkeys(opened.keys(), file.name)
    assert held == index
    connection = load_file(tmp_path / "served" / "connection.safetensors")
    weight = CrossLingualModel.from_pretrained(checkpoint).decision_maker.state_dict()["weight"]
    torch.testing.assert_close(connection["connection.decision_maker"], weight, rtol=0, atol=0)
    torch.testing.assert_close(connection["connection.transform_matrix"], matrix, rtol=0, atol=0)
    assert made.parameters == weight.numel() + matrix.numel()


def test_answers_end_where_the_template_ends_a_turn(checkpoint: Path, tmp_path: Path) -> None:
    file = save_matrix(tmp_path / "w.safetensors", torch.eye(HIDDEN))
    made = export_for_serving(checkpoint, tmp_path / "served", file)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "served")
    ended = tokenizer.apply_chat_template([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    stops = json.loads((tmp_path / "served" / "generation_config.json").read_text())["eos_token_id"]
    assert ended["input_ids"][-1] in stops
    assert tuple(stops) == made.stop_token_ids


def test_other_tools_load_the_base_model_of_the_directory(checkpoint: Path, tmp_path: Path) -> None:
    file = save_matrix(tmp_path / "w.safetensors", torch.eye(HIDDEN))
    export_for_serving(checkpoint, tmp_path / "served", file)
    served, base = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / "served", checkpoint))
    ids = torch.arange(3, 100)[None]
    with torch.no_grad():
        # Its heads of 8 dimensions are padded, so weights are compared by what they compute.
        torch.testing.assert_close(served(input_ids=ids).logits, base(input_ids=ids).logits)
    others = {name: weight for name, weight in base.state_dict().items() if "self_attn" not in name}
    assert all(torch.equal(weight, served.state_dict()[name]) for name, weight in others.items())


def test_statistics_are_exported_with_what_is_divided_by(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_llama_directory)
    model = CrossLingualModel.from_base(base, ConnectionConfig(normalise="standardised"))
    deviation = torch.rand(LAYERS, HIDDEN) + 0.5
    deviation[1, 4] = 0  # a dimension that never varied must not be divided by zero
    model.normalisation.use(ActivationStatistics(torch.randn(LAYERS, HIDDEN), deviation, 9))
    model.set_transform_matrix(torch.eye(HIDDEN))
    model.save_pretrained(tmp_path / "ckpt")
    tiny_tokenizer.save_pretrained(tmp_path / "ckpt")
    export_for_serving(tmp_path / "ckpt", tmp_path / "served")
    tensors = load_file(tmp_path / "served" / "connection.safetensors")
    activations = torch.randn(2, LAYERS, HIDDEN)
    normalised = (activations - tensors["connection.activation_mean"]) / tensors["connection.activation_divisor"]
    torch.testing.assert_close(normalised, model.normalisation(activations))


def test_a_plain_model_is_refused(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    plain = save_plain_checkpoint(tmp_path / "plain", tiny_llama_directory, tiny_tokenizer)
    with pytest.raises(ConfigError, match="no cross-lingual connection"):
        export_for_serving(plain, tmp_path / "served")


def test_a_checkpoint_without_a_map_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Transform Matrix"):
        export_for_serving(checkpoint, tmp_path / "served")


def test_a_map_of_another_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="has shape"):
        export_for_serving(checkpoint, tmp_path / "served", save_matrix(tmp_path / "w.safetensors", torch.eye(8)))


@pytest.mark.parametrize(
    ("features", "languages", "named"),
    [("pooled", (), "'pooled'"), ("layer", ("swh_Latn", "hin_Deva"), "intercepts for each language")],
)
def test_a_map_that_a_server_cannot_compute_is_refused_by_its_form(
    checkpoint: Path, tmp_path: Path, features: Features, languages: tuple[str, ...], named: str
) -> None:
    if features == "pooled":
        transform = TransformMatrix(
            torch.randn((LAYERS - 1) * HIDDEN, 4), output=torch.randn(4, LAYERS * HIDDEN), features=features
        )
    else:
        transform = TransformMatrix(torch.eye(HIDDEN), torch.randn(len(languages), HIDDEN), languages=languages)
    with pytest.raises(UnsupportedModel, match=named):
        export_for_serving(with_map(checkpoint, tmp_path / "ckpt", transform), tmp_path / "served")


def test_a_connection_that_the_plugin_does_not_know_is_refused_by_its_setting() -> None:
    check_served(ConnectionConfig(selector="random", source="block", scale=0.3, offset=2, english="identity"))
    check_served(ConnectionConfig(scale="learned", predicted_share=0.5, predicted_refit=9))
    with pytest.raises(UnsupportedModel, match=r"connection\.selector is 'newest'"):
        check_served(ConnectionConfig.model_construct(selector="newest"))


def test_the_command_exports_and_says_what(checkpoint: Path, tmp_path: Path) -> None:
    matrix = save_matrix(tmp_path / "w.safetensors", torch.eye(HIDDEN))
    arguments = ["export", str(checkpoint), str(tmp_path / "served"), "--transform-matrix", str(matrix)]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    assert "CcTuningLlamaForCausalLM" in told.output
    assert (tmp_path / "served" / "config.json").is_file()


def test_a_family_that_the_plugin_does_not_serve_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = with_map(checkpoint, tmp_path / "ckpt", TransformMatrix(torch.eye(HIDDEN)))
    description = json.loads((folder / "cross_lingual.json").read_text())
    (folder / "cross_lingual.json").write_text(json.dumps(description | {"family": "phi3"}))
    with pytest.raises(UnsupportedModel, match="'phi3'; served are llama"):
        export_for_serving(folder, tmp_path / "served")


def test_a_refused_export_leaves_nothing_and_a_full_folder_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "mine.txt").write_text("kept")
    for target in (tmp_path / "served", tmp_path / "other"):
        with pytest.raises(CcTuningError):
            export_for_serving(checkpoint, target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "served"]
