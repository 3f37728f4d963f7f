"""An objective of another kind, for the tests of what an objective may be: two sequences a row, and a reference model.

    L = lambda L_SFT(y) - (1 - lambda) mean log sigmoid(beta [log pi(y)/ref(y) - log pi(y')/ref(y')])

`y` is preferred to `y'` (Rafailov et al. 2023, eq. 7, beside fine-tuning on `y`): the first part is a mean over tokens,
the second one over rows. The log-probabilities of the reference model are in a file of another artifact, by row id.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cc_tuning.training.collators import IGNORED_LABEL, Batch, Collator, ResponseCollator
from cc_tuning.training.dataset import Row, RowContract, SequenceColumns
from cc_tuning.training.objectives.base import Loss, Model, targets_of

BETA, LAMBDA = 0.1, 0.5
REFERENCE_FILE = "reference.json"


@dataclass(frozen=True)
class PreferenceCollator:
    """Both sequences of each row, with what the reference model says of them: `reference [B, 2]` float32."""

    responses: Collator
    reference: Mapping[str, list[float]]

    def __call__(self, rows: Sequence[Row]) -> Batch:
        return self.responses(rows) | {"reference": torch.tensor([self.reference[row["row_id"]] for row in rows])}


class Preference:
    """The preferred sequence of each row against the other one."""

    contract = RowContract(
        schema="TrainingRow",
        sequences=(SequenceColumns("chosen_ids", "chosen_prompt"), SequenceColumns("other_ids", "other_prompt")),
    )
    metrics = ("margin", "is_preferred")

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """Reads the reference's file in the artifact `reference`."""
        reference = json.loads((inputs["reference"] / REFERENCE_FILE).read_text(encoding="utf-8"))
        return PreferenceCollator(ResponseCollator(pad_token_id, self.contract.sequences), reference)

    def count(self, batch: Batch) -> Tensor:
        """Tokens of the preferred responses, and rows: `[2]`."""
        tokens = targets_of(batch)[::2].ne(IGNORED_LABEL).sum()
        return torch.stack([tokens, torch.tensor(len(targets_of(batch)) // 2)])

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """Both parts, each divided by what there is of it in the step."""
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "reference")}
        of_policy = log_probabilities(model(**inputs).logits, targets_of(batch)).view(-1, 2)
        log_ratios = of_policy - batch["reference"]
        margin = BETA * (log_ratios[:, 0] - log_ratios[:, 1])
        tokens, rows = normaliser
        fine_tuning, preference = -of_policy[:, 0].sum() / tokens, -nn.functional.logsigmoid(margin).sum() / rows
        loss, margin = LAMBDA * fine_tuning + (1 - LAMBDA) * preference, margin.detach()
        return Loss(loss, {"margin": margin, "is_preferred": (margin > 0).float()})


def log_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """Of each sequence's targets together `[B * S]` float32; `logits [B * S, K, V]`, `targets [B * S, K]`."""
    each = -nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, ignore_index=IGNORED_LABEL, reduction="none"
    )
    return each.sum(1)
