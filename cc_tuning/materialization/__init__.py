"""From pairs to the training rows of a data setting: text first, then the token ids that the model will see."""

from cc_tuning.materialization.config import MaterializationConfig
from cc_tuning.materialization.stage import build_training_rows, materialize_step, rows_path, tokenizer_path
from cc_tuning.materialization.texts import training_texts

__all__ = [
    "MaterializationConfig",
    "build_training_rows",
    "materialize_step",
    "rows_path",
    "tokenizer_path",
    "training_texts",
]
