"""The Transform Matrix in every form: applied as a slow reference does, saved and loaded, and refused elsewhere."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel, load_checkpoint
from cc_tuning.model.transform_file import Origin, write_transform_matrix
from cc_tuning.model.transform_matrix import TransformMatrix
from data_contracts.errors import ArtifactMismatch
from tests.model.tiny_connected import HIDDEN, LAYERS, left_padded, random_prompts, tiny_base, tiny_model
from tests.reference.connection import answer_row, choose_layer, run_row

NEW = 6
FORMS = ["shared", "shared with intercept", "per layer", "per layer with intercept"]


def _transform(form: str, layers: int = LAYERS, hidden: int = HIDDEN, seed: int = 2) -> TransformMatrix:
    draw = torch.Generator().manual_seed(seed)
    leading = (layers,) if form.startswith("per layer") else ()
    matrix = torch.randn(*leading, hidden, hidden, generator=draw) / hidden**0.5
    return TransformMatrix(matrix, torch.randn(*leading, hidden, generator=draw) if "intercept" in form else None)


def _model(form: str, family: str = "llama", offset: int = 0) -> CrossLingualModel:
    model = tiny_model(family, ConnectionConfig(offset=offset))
    transform = _transform(form)
    model.set_transform_matrix(transform.matrix, transform.intercept)
    return model


def _slow_prediction(transform: TransformMatrix, own: Tensor) -> Tensor:
    """`F_hat [L, D]`, layer after layer."""
    predicted = []
    for layer, f in enumerate(own):
        W = transform.matrix if transform.matrix.dim() == 2 else transform.matrix[layer]
        f_hat = f @ W
        if transform.intercept is not None:
            f_hat = f_hat + (transform.intercept if transform.intercept.dim() == 1 else transform.intercept[layer])
        predicted.append(f_hat)
    return torch.stack(predicted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("family", "offset"), [("llama", 0), ("qwen2", 1)])
def test_answers_equal_full_passes_with_the_map_of_each_layer(family: str, offset: int, form: str) -> None:
    model, rows = _model(form, family, offset), random_prompts()
    generation = model.generate_with_selection(**left_padded(rows), max_new_tokens=NEW, do_sample=False)
    for b, row in enumerate(rows):
        ids, position = torch.tensor(row), len(row) - 1 - offset
        with torch.no_grad():
            predicted = _slow_prediction(_transform(form), run_row(model.base, ids, position)[1])
            layer = choose_layer(model.base, model.decision_maker.weight, predicted, ids[position])
            expected = answer_row(model.base, row, offset, NEW, predicted[layer])
        assert generation.selected_layer[b] == layer
        assert generation.output[b, -NEW:].tolist() == expected


@pytest.mark.parametrize("form", FORMS)
def test_all_rows_at_once_equal_one_at_a_time(form: str) -> None:
    model = _model(form)
    own = torch.randn(5, LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
    together = model.predicted_english(own)
    for row in range(len(own)):
        torch.testing.assert_close(together[row], model.predicted_english(own[row : row + 1])[0])
        torch.testing.assert_close(together[row], _slow_prediction(_transform(form), own[row]))


@pytest.mark.parametrize("form", FORMS)
def test_checkpoint_keeps_the_form(form: str, tmp_path: Path) -> None:
    _model(form).save_pretrained(tmp_path)
    loaded, expected = CrossLingualModel.from_pretrained(tmp_path, dtype=torch.bfloat16), _transform(form)
    assert torch.equal(loaded.transform_matrix, expected.matrix)
    if expected.intercept is None:
        assert loaded.transform_intercept is None
    else:
        assert torch.equal(loaded.transform_intercept, expected.intercept)


def test_a_matrix_without_an_intercept_takes_an_earlier_intercept_away() -> None:
    model = _model("shared with intercept")
    model.set_transform_matrix(_transform("shared").matrix)
    assert model.transform_intercept is None


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (_transform("per layer", layers=LAYERS + 1), r"shape \(4, 32, 32\).*\(3, 32, 32\)"),
        (_transform("per layer", hidden=HIDDEN + 1), r"shape \(3, 33, 33\).*\(32, 32\)"),
        (_transform("shared", hidden=HIDDEN - 1), r"shape \(31, 31\).*\(32, 32\)"),
        (TransformMatrix(torch.eye(HIDDEN), torch.zeros(LAYERS, HIDDEN)), r"intercept \(3, 32\)"),
        (TransformMatrix(_transform("per layer").matrix, torch.zeros(HIDDEN)), r"intercept \(32,\)"),
        (TransformMatrix(torch.eye(HIDDEN), torch.full((HIDDEN,), torch.inf)), "32 values that are not finite"),
    ],
)
def test_a_map_of_other_sizes_is_refused(transform: TransformMatrix, message: str) -> None:
    model = tiny_model("llama")
    before = model.transform
    with pytest.raises(UnsupportedModel, match=message):
        model.set_transform_matrix(transform.matrix, transform.intercept)
    assert torch.equal(model.transform_matrix, before.matrix)


FACTORED = ["all layers", "pooled", "pooled with an intercept for each language"]
LANGUAGES = ("swh_Latn", "yor_Latn")


def _factored(form: str) -> TransformMatrix:
    draw = torch.Generator().manual_seed(4)
    read = LAYERS - form.startswith("pooled")
    U, V = torch.randn(read * HIDDEN, 5, generator=draw) / 5, torch.randn(5, LAYERS * HIDDEN, generator=draw) / 5
    languages = LANGUAGES if "language" in form else ()
    intercept = torch.randn(*([2] if languages else []), LAYERS, HIDDEN, generator=draw)
    return TransformMatrix(U, intercept, V, "pooled" if form.startswith("pooled") else "all_layers", languages)


def _pooled_slowly(model: CrossLingualModel, ids: list[int]) -> Tensor:
    """The mean over tokens of each layer's output but the last, `[L - 1, D]`, from what transformers itself records."""
    with torch.no_grad():
        states = model.base.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack([layer[0].mean(0) for layer in states[1:LAYERS]])


@pytest.mark.parametrize("form", FACTORED)
@pytest.mark.parametrize(("family", "offset"), [("llama", 0), ("gemma3_text", 0), ("qwen2", 1)])
def test_answers_of_factored_maps_equal_full_passes(family: str, offset: int, form: str) -> None:
    model, rows, transform = tiny_model(family, ConnectionConfig(offset=offset)), random_prompts(), _factored(form)
    model.set_transform(transform)
    codes = ["yor_Latn", "swh_Latn", "yor_Latn"] if transform.languages else None
    generation = model.generate_with_selection(
        **left_padded(rows), languages=codes, max_new_tokens=NEW, do_sample=False
    )
    for b, row in enumerate(rows):
        ids, position = torch.tensor(row), len(row) - 1 - offset
        with torch.no_grad():
            own = run_row(model.base, ids, position)[1]
            read = _pooled_slowly(model, row[: position + 1]) if transform.features == "pooled" else own
            predicted = torch.zeros(LAYERS, HIDDEN)
            for layer in range(LAYERS):
                columns = slice(layer * HIDDEN, (layer + 1) * HIDDEN)
                b_l = transform.intercept[LANGUAGES.index(codes[b]), layer] if codes else transform.intercept[layer]
                predicted[layer] = read.flatten() @ (transform.matrix @ transform.output[:, columns]) + b_l
            layer = choose_layer(model.base, model.decision_maker.weight, predicted, ids[position])
            expected = answer_row(model.base, row, offset, NEW, predicted[layer])
        assert generation.selected_layer[b] == layer
        assert generation.output[b, -NEW:].tolist() == expected


def test_pooled_states_that_are_fitted_are_those_that_are_answered_with() -> None:
    model, rows = tiny_model("llama", ConnectionConfig(offset=1)), random_prompts()
    batch = left_padded(rows)
    positions = torch.full((len(rows),), batch["input_ids"].shape[1] - 2)
    own, pooled = model.activations_with_pooled(batch["input_ids"], batch["attention_mask"], positions)
    torch.testing.assert_close(own, model.activations(batch["input_ids"], batch["attention_mask"], positions))
    for row, states in zip(rows, pooled, strict=True):
        torch.testing.assert_close(states, _pooled_slowly(model, row[:-1]))


@pytest.mark.parametrize("form", FACTORED)
def test_checkpoint_and_file_keep_a_factored_map(form: str, tmp_path: Path) -> None:
    model, expected = tiny_model("llama"), _factored(form)
    model.set_transform(expected)
    model.save_pretrained(tmp_path / "a")
    file = tmp_path / "transform_matrix.safetensors"
    write_transform_matrix(file, expected, Origin.of(tmp_path / "a"))
    loaded = CrossLingualModel.from_pretrained(tmp_path / "a").transform
    again = load_checkpoint(tmp_path / "a", transform_matrix=file).transform
    for transform in (loaded, again):
        assert (transform.features, transform.languages) == (expected.features, expected.languages)
        for name, tensor in expected.tensors.items():
            assert torch.equal(transform.tensors[name], tensor)


def test_an_english_prompt_takes_its_own_activations_where_each_language_has_an_intercept() -> None:
    model = tiny_model("llama")
    matrix, b = torch.zeros(HIDDEN, HIDDEN), torch.stack([torch.ones(HIDDEN), 2 * torch.ones(HIDDEN)])
    model.set_transform(TransformMatrix(matrix, b, languages=LANGUAGES))
    own = torch.randn(3, LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
    predicted = model.predicted_english(own, languages=["yor_Latn", "eng_Latn", "swh_Latn"])
    assert torch.equal(predicted[1], own[1])
    assert predicted[0].eq(2).all() and predicted[2].eq(1).all()


def test_a_map_by_language_refuses_prompts_of_an_untold_or_unknown_language() -> None:
    model = tiny_model("llama")
    model.set_transform(_factored(FACTORED[2]))
    with pytest.raises(ConfigError, match="language of each prompt must be known"):
        model.generate(**left_padded(random_prompts()), max_new_tokens=1)
    with pytest.raises(ConfigError, match="cannot answer prompts in 'hau_Latn'"):
        model.generate(**left_padded(random_prompts()), languages=["hau_Latn"] * 3, max_new_tokens=1)


def test_pooled_states_refuse_a_prompt_whose_beginning_is_in_the_cache() -> None:
    model, prompt = tiny_model("llama"), torch.tensor([random_prompts()[1]])
    model.set_transform(_factored("pooled"))
    mask = torch.ones_like(prompt)
    with pytest.raises(ConfigError, match="all tokens of a prompt, and 8 of them are in the cache"):
        model.generate(prompt, mask, max_new_tokens=1, prefill_chunk_size=4)


@pytest.mark.parametrize("change", [{"source": "attention"}, {"site": "block_output"}, {"offset": 1}])
def test_file_of_another_variant_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    model = CrossLingualModel.from_base(tiny_base("gemma3_text"), ConnectionConfig())
    model.save_pretrained(tmp_path / "a")
    model.connection = ConnectionConfig.model_validate(change)
    model.save_pretrained(tmp_path / "b")
    file = tmp_path / "transform_matrix.safetensors"
    write_transform_matrix(file, _transform("shared"), Origin.of(tmp_path / "a"))
    load_checkpoint(tmp_path / "a", transform_matrix=file)
    with pytest.raises(ArtifactMismatch, match="fitted on activations read at source ffn, site contribution"):
        load_checkpoint(tmp_path / "b", transform_matrix=file)


def _saved(
    folder: Path, family: str = "llama", selector: str = "decision_maker", seed: int = 0, **sizes: object
) -> Path:
    """A checkpoint without a Transform Matrix, every weight a little elsewhere than with another seed."""
    model = CrossLingualModel.from_base(tiny_base(family, **sizes), ConnectionConfig(selector=selector))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-4 * torch.randn(parameter.shape, generator=draw))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("selector", ["decision_maker", "mean"])
@pytest.mark.parametrize("form", FORMS)
def test_file_is_taken_by_the_checkpoint_it_was_fitted_on_wherever_it_lies(
    form: str, selector: str, tmp_path: Path
) -> None:
    fitted_on, file = _saved(tmp_path / "a", selector=selector), tmp_path / "transform_matrix.safetensors"
    write_transform_matrix(file, _transform(form), Origin.of(fitted_on))
    model = load_checkpoint(fitted_on, transform_matrix=file)
    assert torch.equal(model.transform_matrix, _transform(form).matrix)
    model.save_pretrained(tmp_path / "b")  # now with the matrix in it
    again = load_checkpoint(tmp_path / "b", transform_matrix=file)
    assert torch.equal(again.transform_matrix, model.transform_matrix)


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        ({"seed": 1}, ArtifactMismatch, "fitted on other weights"),
        ({"family": "qwen2"}, UnsupportedModel, r"\('llama', 3, 32\).*\('qwen2', 3, 32\)"),
        ({"num_hidden_layers": 4}, UnsupportedModel, r"\('llama', 3, 32\).*\('llama', 4, 32\)"),
        ({"hidden_size": 16}, UnsupportedModel, r"\('llama', 3, 32\).*\('llama', 3, 16\)"),
    ],
)
def test_file_of_another_checkpoint_is_refused(
    other: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "transform_matrix.safetensors"
    write_transform_matrix(file, _transform("shared"), Origin.of(_saved(tmp_path / "a")))
    with pytest.raises(error, match=message):
        load_checkpoint(_saved(tmp_path / "b", **other), transform_matrix=file)


def test_file_of_another_training_is_refused_when_the_selector_has_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "transform_matrix.safetensors"
    write_transform_matrix(file, _transform("shared"), Origin.of(_saved(tmp_path / "a", selector="mean")))
    with pytest.raises(ArtifactMismatch, match="fitted on other weights"):
        load_checkpoint(_saved(tmp_path / "b", selector="mean", seed=1), transform_matrix=file)


def test_file_with_an_unreadable_origin_or_foreign_tensors_is_refused(tmp_path: Path) -> None:
    checkpoint, file = _saved(tmp_path / "a"), tmp_path / "transform_matrix.safetensors"
    save_file({"transform_matrix": torch.eye(HIDDEN)}, file, metadata={"fitted_on": '{"family": "llama"}'})
    with pytest.raises(ArtifactMismatch, match="does not say which checkpoint"):
        load_checkpoint(checkpoint, transform_matrix=file)
    save_file({"transform_matrix": torch.eye(HIDDEN), "decision_maker.weight": torch.zeros(HIDDEN, LAYERS)}, file)
    with pytest.raises(ArtifactMismatch, match="expected 'transform_matrix'"):
        load_checkpoint(checkpoint, transform_matrix=file)
