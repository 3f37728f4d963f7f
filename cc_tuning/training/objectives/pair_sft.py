"""Supervised fine-tuning on preference rows: the comparisons of CLO, on the very pairs that CLO reads.

    L = - (1 / N) sum_i sum_t log p(y_i,t | x_i, y_i,<t)        (as in sft.py)

over the English sides of the rows (SFT-eng), the sides in the target language (SFT-tgt), or both (Lee et al. 2025,
Table 3). Rejected sequences are not read, and no reference model is asked.
"""

from cc_tuning.training.dataset import RowContract
from cc_tuning.training.objectives.pairs import CHOSEN, ENGLISH_CHOSEN, PREFERENCE_ROW
from cc_tuning.training.objectives.sft import SupervisedFineTuning


class TargetFineTuning(SupervisedFineTuning):
    """One sequence a row: the prompt with its response, both in the target language."""

    contract = RowContract(schema=PREFERENCE_ROW, sequences=(CHOSEN,))


class EnglishFineTuning(SupervisedFineTuning):
    """One sequence a row: the English prompt with its English response."""

    contract = RowContract(schema=PREFERENCE_ROW, sequences=(ENGLISH_CHOSEN,))


class BothFineTuning(SupervisedFineTuning):
    """Two sequences a row: the pair in the target language, and the pair in English.

    Both count by their tokens: a long response of one language weighs more than a short one of the other.
    """

    contract = RowContract(schema=PREFERENCE_ROW, sequences=(CHOSEN, ENGLISH_CHOSEN))
