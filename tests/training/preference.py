"""An objective of another kind, for the tests of what an objective may be: two sequences a row, and a reference model.

    L = - mean log sigmoid(beta [log pi(y)/ref(y) - log pi(y')/ref(y')])        (Rafailov et al. 2023, eq. 7)

`y` is preferred to `y'`. The log-probabilities of the reference model are in a file of another artifact, by row id.
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

BETA = 0.1
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
        """Rows."""
        reference = batch["reference"]
        assert isinstance(reference, Tensor)
        return torch.tensor(len(reference))

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """The rows' losses, divided by how many rows there are in the step."""
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "reference")}
        log_ratios = log_probabilities(model(**inputs).logits, targets_of(batch)).view(-1, 2) - batch["reference"]
        margin = BETA * (log_ratios[:, 0] - log_ratios[:, 1])
        loss = -nn.functional.logsigmoid(margin).sum() / normaliser
        margin = margin.detach()
        return Loss(loss, {"margin": margin, "is_preferred": (margin > 0).float()})


def log_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """Of each sequence's targets together `[B * S]` float32; `logits [B * S, K, V]`, `targets [B * S, K]`."""
    each = -nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, ignore_index=IGNORED_LABEL, reduction="none"
    )
    return each.sum(1)
