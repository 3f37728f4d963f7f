"""Agreement of this device's float32 with tensors recorded from the authors' code.

`CC_TUNING_GOLDEN` names the folder, of the layout that tests/model/test_golden.py reads, with its tolerances.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.runtime.padding import padded
from gpu_parts.board import Board
from gpu_parts.differences import absolute

SELECTOR_KEY = "model.source_select.weight"  # [L, D]: the transpose of W_DM
TOLERANCE = {"activations": 2e-5, "logits": 1e-4, "loss": 1e-5, "gradients": 1e-5}


def check_golden(board: Board) -> None:
    """Check each family recorded in `CC_TUNING_GOLDEN`, or say why none is."""
    folder = os.environ.get("CC_TUNING_GOLDEN")
    found = sorted(Path(folder).glob("*/meta.json")) if folder else []
    if not found:
        board.add("golden tensors", skipped=f"no */meta.json in {folder}" if folder else "CC_TUNING_GOLDEN is not set")
    for path in found:
        golden = _Golden(path.parent, board.device)
        golden.check_activations(board)
        for mode in ("argmax", "noise"):
            golden.check_training(board, mode)
        for mode in ("argmax", "noise", "vanilla"):
            golden.check_answers(board, mode)


class _Golden:
    """One recorded set, and our model with its weights on a device."""

    def __init__(self, folder: Path, device: str) -> None:
        self.name = f"golden {folder.name}"
        self.device = device
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.inputs = self._load(folder / "inputs.safetensors")
        self.training = self._load(folder / "train_expected.safetensors")
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
        offset = -1 - int(self.meta["marker_from_prompt_end"][0])
        self.model = CrossLingualModel.from_base(base, ConnectionConfig(offset=offset)).to(device).eval()
        with torch.no_grad():
            self.model.decision_maker.weight.copy_(load_file(folder / "model.safetensors")[SELECTOR_KEY].T)
        self.model.set_transform_matrix(self._load(folder / "inference_expected.safetensors")["W_T"])

    def check_activations(self, board: Board) -> None:
        """English activations at t*."""
        batch = self._batch()
        got = self.model.activations(
            *(batch[f"english_{name}"] for name in ("input_ids", "attention_mask", "positions"))
        )
        expected = self.training["f32.en_mlp_output"].transpose(0, 1)
        board.check(f"{self.name}: activations", absolute(got, expected), TOLERANCE["activations"])

    def check_training(self, board: Board, mode: str) -> None:
        """Loss, logits and every recorded gradient of the authors' shipped configuration."""
        noise = self.inputs["gumbel_noise"]
        self.model.train().zero_grad()
        output = self.model(**self._batch(), gumbel_noise=noise if mode == "noise" else torch.zeros_like(noise))
        output.loss.backward()
        self.model.eval()
        prefix, real = f"f32.{mode}.", self.inputs["attention_mask"] == 1
        for name in ("loss", "logits"):
            where = real if name == "logits" else ...
            difference = absolute(output[name][where], self.training[prefix + name][where])
            board.check(f"{self.name}, {mode}: {name}", difference, TOLERANCE[name])
        gradients = {name: value.grad for name, value in self.model.base.named_parameters(remove_duplicate=False)}
        gradients[SELECTOR_KEY] = self.model.decision_maker.weight.grad.T
        prefix += "detached_en."
        recorded = {key.removeprefix(prefix): value for key, value in self.training.items() if key.startswith(prefix)}
        difference = max(absolute(gradients[name], value) for name, value in recorded.items())
        board.check(f"{self.name}, {mode}: worst of {len(recorded)} gradients", difference, TOLERANCE["gradients"])

    def check_answers(self, board: Board, mode: str) -> None:
        """The recorded token ids, from one left-padded batch."""
        prompts = self.meta["inference"]
        key = {"argmax": "generated", "noise": "generated_noise", "vanilla": "vanilla_generated"}[mode]
        ids, mask = padded([prompt["prompt_ids"] for prompt in prompts], self.meta["pad_id"], side="left")
        rows = [prompt["noise_row"] for prompt in prompts]
        arguments = {"gumbel_noise": self.inputs["gumbel_noise"][rows]} if mode == "noise" else {}
        output = self.model.generate(
            ids.to(self.device),
            mask.to(self.device),
            connection="off" if mode == "vanilla" else "transform",
            max_new_tokens=max(len(prompt[key]) for prompt in prompts),
            do_sample=False,
            eos_token_id=self.meta["eos_id"],
            pad_token_id=self.meta["pad_id"],
            **arguments,
        )
        got = output[:, ids.shape[1] :].tolist()
        unequal = sum(a[: len(prompt[key])] != prompt[key] for a, prompt in zip(got, prompts, strict=True))
        board.check(f"{self.name}, {mode}: answers of {len(prompts)} that differ", unequal, 0)

    def _load(self, path: Path) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in load_file(path).items()}

    def _batch(self) -> dict[str, Tensor]:
        recorded = {
            "input_ids": "input_ids", "attention_mask": "attention_mask", "labels": "labels",
            "english_input_ids": "input_ids_aux", "english_attention_mask": "attention_mask_aux",
        }  # fmt: skip
        positions = {"connection_positions": "marker_main", "english_positions": "marker_aux"}
        return {name: self.inputs[key] for name, key in recorded.items()} | {
            name: torch.tensor(self.meta[key], device=self.device) for name, key in positions.items()
        }
