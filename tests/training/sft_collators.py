"""The collators of supervised fine-tuning as a run builds them, for tests that need nothing else of a run."""

from cc_tuning.training.collators import ConnectionCollator, ResponseCollator
from cc_tuning.training.objectives.sft import SupervisedFineTuning

SEQUENCES = SupervisedFineTuning.contract.sequences


def responses(pad_token_id: int) -> ResponseCollator:
    """Prompts with their responses."""
    return ResponseCollator(pad_token_id, SEQUENCES)


def connected(pad_token_id: int, offset: int = 0) -> ConnectionCollator:
    """The same with what the connection reads, without noise."""
    return ConnectionCollator(responses(pad_token_id), SEQUENCES, pad_token_id, offset)
