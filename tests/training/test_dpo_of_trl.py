"""DPO beside the trainer of TRL, on one batch: the same loss and the same gradient."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cc_tuning.training.objectives.table import load_objective
from tests.reference.preferences import log_probability
from tests.training.pair_rows import NAMES, ROWS, slow_row, write_reference

trl = pytest.importorskip("trl", reason="TRL is no dependency of this project")
datasets = pytest.importorskip("datasets", reason="TRL needs it")

EXAMPLES = [
    {"prompt_ids": ids[:length], "chosen_ids": ids[length:], "rejected_ids": other[length:]}
    for row in ROWS
    for ids, other, length in (
        (row["chosen_ids"], row["rejected_ids"], row["prompt_length"]),
        (row["english_chosen_ids"], row["english_rejected_ids"], row["english_prompt_length"]),
    )
]
"""The two examples of each row, as TRL's collator reads them."""


def test_dpo_has_the_loss_and_the_gradient_of_trl(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    reference = LlamaForCausalLM.from_pretrained(tiny_llama_directory).eval()
    policy = LlamaForCausalLM.from_pretrained(tiny_llama_directory)
    with torch.no_grad():
        torch.manual_seed(1)
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        known = {
            row["row_id"]: tuple(float(log_probability(reference, slow_row(row)[name])) for name in NAMES)
            for row in ROWS
        }
    objective = load_objective("dpo")
    batch = objective.collator(0, {"reference": write_reference(tmp_path, known)})(ROWS)
    own = objective.loss(policy, batch, objective.count(batch).float()).loss

    text = datasets.Dataset.from_list([{"prompt": "Swali", "chosen": "Jibu", "rejected": "Answer"}])
    settings = trl.DPOConfig(output_dir=str(tmp_path), beta=0.1, report_to=[], use_cpu=True, bf16=False)
    trainer = trl.DPOTrainer(policy, reference, args=settings, train_dataset=text, processing_class=tiny_tokenizer)
    collate = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)
    theirs = trainer.compute_loss(policy, collate(EXAMPLES))

    assert abs(float(own.detach()) - 0.6931) > 0.01, "the policy is not its reference"
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-5)
    weights = list(policy.parameters())
    for ours, of_trl in zip(torch.autograd.grad(own, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(ours, of_trl, rtol=0, atol=1e-5)
