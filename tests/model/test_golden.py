"""Agreement with tensors recorded from the authors' code, for each family found in the golden directory.

The directory is `CC_TUNING_GOLDEN` (default `../shared/golden` beside the repository); its README describes the layout.
Shapes, prompts, offsets and padding ids all come from the files, so that another set of the same layout can be given.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from cc_tuning.model import ConnectionConfig, CrossLingualModel

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("CC_TUNING_GOLDEN") or ROOT / ".." / "shared" / "golden").resolve()
SELECTOR_KEY = "model.source_select.weight"  # [L, D]: the transpose of W_DM
TOLERANCE = {"activations": 2e-5, "logits": 1e-4, "loss": 1e-5, "gradients": 1e-5}
MODES = ("argmax", "noise")
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/meta.json"))

pytestmark = pytest.mark.skipif(not FAMILIES, reason=f"no golden tensors in {GOLDEN} (set CC_TUNING_GOLDEN)")


@dataclass
class Golden:
    """One recorded set and our model with its weights."""

    meta: dict[str, Any]
    inputs: dict[str, Tensor]
    training: dict[str, Tensor]
    inference: dict[str, Tensor]
    model: CrossLingualModel

    def batch(self) -> dict[str, Tensor]:
        """The recorded training batch under our names."""
        return {
            "input_ids": self.inputs["input_ids"],
            "attention_mask": self.inputs["attention_mask"],
            "labels": self.inputs["labels"],
            "connection_positions": torch.tensor(self.meta["marker_main"]),
            "english_input_ids": self.inputs["input_ids_aux"],
            "english_attention_mask": self.inputs["attention_mask_aux"],
            "english_positions": torch.tensor(self.meta["marker_aux"]),
        }

    def noise(self, mode: str) -> Tensor:
        """The recorded Gumbel noise [B, L], or zeros for the argmax runs."""
        noise = self.inputs["gumbel_noise"]
        return noise if mode == "noise" else torch.zeros_like(noise)


@pytest.fixture(scope="module", params=FAMILIES)
def golden(request: pytest.FixtureRequest) -> Golden:
    folder = GOLDEN / request.param
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    offset = -1 - int(meta["marker_from_prompt_end"][0])
    model = CrossLingualModel.from_base(base, ConnectionConfig(offset=offset))
    with torch.no_grad():
        model.decision_maker.weight.copy_(load_file(folder / "model.safetensors")[SELECTOR_KEY].T)
    inference = load_file(folder / "inference_expected.safetensors")
    model.set_transform_matrix(inference["W_T"])
    return Golden(
        meta,
        load_file(folder / "inputs.safetensors"),
        load_file(folder / "train_expected.safetensors"),
        inference,
        model.eval(),
    )


def error(got: Tensor, expected: Tensor) -> float:
    """The largest absolute difference."""
    assert got.shape == expected.shape
    return float((got.detach().double() - expected.double()).abs().max())


def padded_left(rows: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts of different lengths."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def test_offset_is_the_authors_position(golden: Golden) -> None:
    lengths = torch.tensor(golden.meta["prompt_lens"])
    expected = lengths - 1 - golden.model.connection.offset
    assert expected.tolist() == golden.meta["marker_main"]
    assert golden.model.connection.offset == {"llama": 0, "qwen2": 1}[golden.meta["family"]]


def test_english_activations_agree(golden: Golden) -> None:
    batch = golden.batch()
    got = golden.model.activations(
        batch["english_input_ids"], batch["english_attention_mask"], batch["english_positions"]
    )
    assert error(got, golden.training["f32.en_mlp_output"].transpose(0, 1)) <= TOLERANCE["activations"]


@pytest.mark.parametrize("mode", MODES)
def test_training_pass_agrees(golden: Golden, mode: str) -> None:
    """Selection, logits, loss and every recorded gradient of the authors' shipped (detached) configuration."""
    model = golden.model.train()
    try:
        output = model(**golden.batch(), gumbel_noise=golden.noise(mode))
        model.zero_grad()
        output.loss.backward()
    finally:
        model.eval()
    expected = {
        key.removeprefix(f"f32.{mode}."): value
        for key, value in golden.training.items()
        if key.startswith(f"f32.{mode}.")
    }
    real = golden.inputs["attention_mask"] == 1
    assert output.selection.argmax(-1).tolist() == golden.meta["selected"][mode]
    assert error(output.selection, expected["one_hot"]) <= 1e-6
    assert error(output.logits[real], expected["logits"][real]) <= TOLERANCE["logits"]
    assert error(output.loss, expected["loss"]) <= TOLERANCE["loss"]

    gradients = {name: parameter.grad for name, parameter in model.base.named_parameters(remove_duplicate=False)}
    gradients[SELECTOR_KEY] = model.decision_maker.weight.grad.T
    recorded = {k.removeprefix("detached_en."): v for k, v in expected.items() if k.startswith("detached_en.")}
    assert recorded, f"no detached_en gradients recorded for {mode}"
    differences = {name: error(gradients[name], value) for name, value in recorded.items()}
    assert max(differences.values()) <= TOLERANCE["gradients"], differences


def test_loss_without_a_connection_agrees(golden: Golden) -> None:
    batch = golden.batch()
    with torch.no_grad():
        output = golden.model.base(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]
        )
    assert error(output.loss, golden.training["f32.vanilla.loss"]) <= TOLERANCE["loss"]


@pytest.mark.parametrize("side", ["A", "B"])
def test_pair_activations_agree(golden: Golden, side: str) -> None:
    """The activations that the Transform Matrix is fitted on, in one left-padded batch."""
    rows = golden.meta["transform"]["pairs_src_ids" if side == "A" else golden_english_key(golden)]
    ids, mask = padded_left(rows, golden.meta["pad_id"])
    positions = torch.full((len(rows),), ids.shape[1] - 1 - golden.model.connection.offset)
    got = golden.model.activations(ids, mask, positions)
    assert error(got, golden.inference[side]) <= TOLERANCE["activations"]


def golden_english_key(golden: Golden) -> str:
    """The name under which the ids of the English side are recorded."""
    (key,) = [k for k in golden.meta["transform"] if k.endswith("_ids") and k != "pairs_src_ids"]
    return str(key)


def test_recorded_matrix_is_the_least_squares_solution(golden: Golden) -> None:
    size = golden.inference["W_T"].shape[0]
    A, B = (golden.inference[name].double().reshape(-1, size) for name in ("A", "B"))
    solution = torch.linalg.lstsq(A, B).solution
    assert error(A @ solution, A @ golden.inference["W_T"].double()) <= 1e-3


def generate(golden: Golden, rows: list[int], **arguments: Any) -> list[list[int]]:
    prompts = [golden.meta["inference"][row] for row in rows]
    ids, mask = padded_left([prompt["prompt_ids"] for prompt in prompts], golden.meta["pad_id"])
    length = max(len(prompt["generated"]) for prompt in prompts)
    stop = {"eos_token_id": golden.meta["eos_id"], "pad_token_id": golden.meta["pad_id"]}
    output = golden.model.generate(ids, mask, max_new_tokens=length, do_sample=False, **stop, **arguments)
    return output[:, ids.shape[1] :].tolist()


def without_end(got: list[list[int]], expected: list[list[int]], golden: Golden) -> list[list[int]]:
    """Rows cut to the recorded length; what follows is the end of the response and padding."""
    for row, wanted in zip(got, expected, strict=True):
        assert set(row[len(wanted) :]) <= {golden.meta["pad_id"], golden.meta["eos_id"]}
    return [row[: len(wanted)] for row, wanted in zip(got, expected, strict=True)]


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "single"])
@pytest.mark.parametrize("mode", ["argmax", "noise", "vanilla"])
def test_generated_ids_agree(golden: Golden, mode: str, batched: bool) -> None:
    key = {"argmax": "generated", "noise": "generated_noise", "vanilla": "vanilla_generated"}[mode]
    expected = [prompt[key] for prompt in golden.meta["inference"]]
    rows = list(range(len(expected)))
    noise_rows = [golden.meta["inference"][row]["noise_row"] for row in rows]
    got: list[list[int]] = []
    for part in [rows] if batched else [[row] for row in rows]:
        arguments: dict[str, Any] = {"connection": "off" if mode == "vanilla" else "transform"}
        if mode == "noise":
            arguments["gumbel_noise"] = golden.inputs["gumbel_noise"][[noise_rows[row] for row in part]]
        got += generate(golden, part, **arguments)
    assert without_end(got, expected, golden) == expected


@pytest.mark.parametrize("mode", ["argmax", "noise", "vanilla"])
def test_inference_activations_step_logits_and_selection_agree(golden: Golden, mode: str) -> None:
    prefix = {"argmax": "", "noise": "noise.", "vanilla": "vanilla."}[mode]
    for row, prompt in enumerate(golden.meta["inference"]):
        ids = torch.tensor([prompt["prompt_ids"]])
        position = torch.tensor([ids.shape[1] - 1 - golden.model.connection.offset])
        own = golden.model.activations(ids, torch.ones_like(ids), position)
        assert error(own, golden.inference[f"p{row}.pass1_mlp_output"].transpose(0, 1)) <= TOLERANCE["activations"]
        expected = golden.inference[f"p{row}.{prefix}step_logits"]
        arguments: dict[str, Any] = {"connection": "off" if mode == "vanilla" else "transform"}
        if mode == "noise":
            arguments["gumbel_noise"] = golden.inputs["gumbel_noise"][[prompt["noise_row"]]]
        generation = golden.model.generate_with_selection(
            ids,
            torch.ones_like(ids),
            max_new_tokens=expected.shape[0],
            eos_token_id=golden.meta["eos_id"],
            do_sample=False,
            pad_token_id=golden.meta["pad_id"],
            output_logits=True,
            return_dict_in_generate=True,
            **arguments,
        )
        got = torch.cat(generation.output.logits)
        key = {"argmax": "generated", "noise": "generated_noise", "vanilla": "vanilla_generated"}[mode]
        assert len(got) >= len(prompt[key])
        assert error(got, expected[: len(got)]) <= TOLERANCE["logits"]
        if mode != "vanilla":
            selected = prompt["selected" if mode == "argmax" else "selected_noise"]
            assert generation.selected_layer.tolist() == [selected]
