"""The stages, each declared once: the command line, the flows, the tasks, the deployments and the report read it.

A stage more is its function, its row here, and its place in the plan (docs/extending.md).
"""

from collections.abc import Mapping

from cc_tuning.runtime.step import Stage

WORLD = Stage(
    "world", 4, "Make the small world of the embedded default.", "cc_tuning.miniature.world:build_world",
    tags=("miniature",),
)  # fmt: skip
BASE_MODEL = Stage(
    "base_model", 3, "Train the tiny base model of the embedded default, or take the shipped one.",
    "cc_tuning.miniature.base_model:build_base_model", tags=("miniature",),
)  # fmt: skip
TRANSLATOR = Stage(
    "translator", 3, "Train the tiny translator of the embedded default, or take the shipped one.",
    "cc_tuning.miniature.translator:build_translator", tags=("miniature",),
)  # fmt: skip
ITEMS = Stage(
    "items", 1, "Make benchmark items of the published data sets.", "cc_tuning.stages.items:build_items",
    tags=("data",), retries=2,
)  # fmt: skip
SELECT = Stage(
    "select", 3, "Choose the rows to learn from.", "cc_tuning.stages.select:build_selection",
    tags=("data",), retries=2,
)  # fmt: skip
TRANSLATE = Stage(
    "translate", 3, "Give every row its English version.", "cc_tuning.stages.translate:build_translation",
    tags=("data", "gpu"), retries=2, resumable=True,
)  # fmt: skip
DISTILL = Stage(
    "distill", 3, "Make the rows of +SDRRL from the base model's own English answers.",
    "cc_tuning.stages.distill:build_distillation", tags=("data", "gpu"), retries=2, resumable=True,
)  # fmt: skip
MATERIALIZE = Stage(
    "materialize", 6, "Turn pairs into training examples.", "cc_tuning.stages.materialize:build_training_rows",
    tags=("data",),
)  # fmt: skip
REFERENCE = Stage(
    "reference", 1, "Ask the model that training starts from about preference rows.",
    "cc_tuning.stages.reference:build_reference", tags=("training", "gpu"), retries=2, resumable=True,
)  # fmt: skip
TRAIN = Stage(
    "train", 7, "Train the runs of the recipe.", "cc_tuning.stages.train:build_training",
    tags=("training", "gpu"), retries=2, resumable=True,
)  # fmt: skip
TRANSFORM = Stage(
    "transform", 6, "Sample activations and fit the Transform Matrix.", "cc_tuning.stages.transform:build_transform",
    tags=("training", "gpu"), retries=1,
)  # fmt: skip
PIVOT = Stage(
    "pivot", 1, "Translate the prompts of benchmark items into English.", "cc_tuning.stages.pivot:build_pivot",
    tags=("evaluation", "gpu"), retries=2, resumable=True,
)  # fmt: skip
EVALUATE = Stage(
    "evaluate", 6, "Answer and score the benchmark items.", "cc_tuning.stages.evaluate:build_evaluation",
    tags=("evaluation", "gpu"), retries=2, resumable=True,
)  # fmt: skip
JUDGE = Stage(
    "judge", 1, "Judge a run's answers beside those of its baseline.", "cc_tuning.stages.judge:build_judgements",
    tags=("evaluation",), retries=2, resumable=True,
)  # fmt: skip
REPORT = Stage(
    "report", 7, "Write the report.", "cc_tuning.stages.report:build_report", tags=("report",), retries=1,
)  # fmt: skip

EMBEDDED = (WORLD, BASE_MODEL, TRANSLATOR)
"""What the embedded default makes first; they have no command of their own."""
PIPELINE = (ITEMS, SELECT, TRANSLATE, DISTILL, MATERIALIZE, REFERENCE, TRAIN, TRANSFORM, PIVOT, EVALUATE, JUDGE, REPORT)
"""In the order of the pipeline."""
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in (*EMBEDDED, *PIPELINE)}
