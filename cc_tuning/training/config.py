"""What a training run is, apart from where and how fast it runs."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.objectives.table import OBJECTIVES, ObjectiveName


class LoraConfig(BaseModel):
    """Low-rank adapters in the place of full fine-tuning: `W + (alpha / rank) B A` (Hu et al. 2021, arXiv 2106.09685).

    The Decision Maker always trains fully. The base model's own weights do not change, so they are held in
    `training.dtype`; adapters, Decision Maker and optimizer state are float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=0, ge=0, description="Rank of each adapter (extra `lora`); 0 trains all weights.")
    alpha: int = Field(default=32, ge=1, description="Scale of an adapter's output, divided by the rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of an adapter's inputs that are dropped.")
    target_modules: tuple[str, ...] = Field(
        default=("all-linear",),
        min_length=1,
        description="Names of the layers that get an adapter, as in q_proj; `all-linear`: every linear layer of the "
        "decoder, without the language-model head.",
    )


class TrainingConfig(BaseModel):
    """Hyper-parameters; the defaults are the paper's (Ye et al. 2025, Appendix A.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=3, ge=1, description="Passes over the training rows.")
    learning_rate: float = Field(default=1e-5, gt=0, description="Peak learning rate of the optimizer.")
    decision_maker_learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="Peak learning rate of the Decision Maker and of a connection's gate, on the same schedule; unset, "
        "it is `learning_rate`.",
    )
    distil_weight: float = Field(
        default=1.0,
        gt=0,
        description="Weight of the divergence beside the likelihood (`cc-distil`): how much the model without the "
        "connection learns from the model with it.",
    )
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        default="cosine", description="Course of the learning rate after warm-up."
    )
    minimum_learning_rate: float = Field(
        default=0.0,
        ge=0,
        description="Where a `cosine` course ends, as `learning_rate`; the Decision Maker's ends at the same "
        "share of its own (paper: 0; Lee et al. 2025: 1.1e-6, from 5e-5).",
    )
    global_batch_size: int = Field(
        default=128, ge=1, description="Rows per optimizer step, over all devices (paper: 16 on each of 8)."
    )
    optimizer: Literal["adamw", "adafactor"] = Field(
        default="adamw",
        description="`adafactor` keeps one number per row and column in the place of AdamW's two per weight: half the "
        "memory of training, other results (paper: AdamW).",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay; not in the paper, the Trainer's 0.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Gradients are clipped to this norm; not in the paper, the Trainer's 1."
    )
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16",
        description="Arithmetic of the passes and type of the saved weights. Weights and AdamW's moments stay float32 "
        "while training: at 1e-5 most updates are below what a bfloat16 weight can hold.",
    )
    validation_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the rows that is held out, by a hash of seed and row id; the checkpoint with the lowest "
        "loss over them is kept. 0 trains all rows and keeps the last step (paper).",
    )
    validations: int = Field(
        default=10,
        ge=1,
        description="Times in the run that the loss of the held-out rows is measured, at equally spaced steps, the "
        "last one among them; without held-out rows it is not used.",
    )
    seed: int = Field(  # numpy takes no larger one
        default=0,
        ge=0,
        lt=2**32,
        description="Order of the rows, initial Decision Maker, noise of its choice, choice of held-out rows.",
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Low-rank adapters.")

    @model_validator(mode="after")
    def _rate_falls_to_its_minimum(self) -> Self:
        if self.minimum_learning_rate and self.scheduler != "cosine":
            raise ValueError(
                f"minimum_learning_rate is {self.minimum_learning_rate} and scheduler {self.scheduler!r}, which knows "
                "no minimum; leave it out, or take `cosine`"
            )
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError(
                f"minimum_learning_rate is {self.minimum_learning_rate}, above learning_rate, {self.learning_rate}"
            )
        return self


class TrainConfig(BaseModel):
    """Identity of the stage `train`: an objective with its hyper-parameters, on a model with or without a connection.

    Raises:
        ConfigError: adapters beside an objective that chooses what trains, no held-out rows for an objective that needs
            some, settings of a preference that the objective does not have, or a rate of a Decision Maker that is not
            there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: ObjectiveName = Field(
        description="What training minimises: " + "; ".join(f"`{n}`: {row.sentence}" for n, row in OBJECTIVES.items())
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="Hyper-parameters.")
    connection: ConnectionConfig | None = Field(
        default=None, description="The cross-lingual connection of the model (CC-Tuning); none trains it as it is."
    )
    preference: PreferenceConfig | None = Field(
        default=None, description="Of an objective that prefers one response to another; none of the others."
    )

    @model_validator(mode="after")
    def _one_thing_chooses_what_trains(self) -> Self:
        trained, rank = OBJECTIVES[self.objective].trained, self.training.lora.rank
        if trained != "all weights" and rank:
            raise ConfigError(
                f"objective {self.objective!r} with training.lora.rank {rank}: the objective trains {trained}, the "
                "adapters train in the place of the model's weights; take an objective of all weights (`sft`, "
                "`clo-all`) with training.lora.target_modules, or set training.lora.rank to 0"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_held_out_where_they_are_needed(self) -> Self:
        if OBJECTIVES[self.objective].needs_validation and self.training.validation_fraction == 0:
            raise ConfigError(
                f"objective {self.objective!r} with training.validation_fraction 0: it keeps the checkpoint with the "
                "lowest validation loss, so it needs held-out rows; set training.validation_fraction, as in 0.05"
            )
        return self

    @model_validator(mode="after")
    def _preference_is_of_an_objective_that_reads_it(self) -> Self:
        is_read = OBJECTIVES[self.objective].needs_reference
        if is_read != (self.preference is not None):
            wanted = "needs the settings of a preference" if is_read else "has no preference"
            raise ConfigError(
                f"objective {self.objective!r} {wanted}, got {self.preference!r}; "
                f"{'give `preference`' if is_read else 'leave `preference` out'}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_distilled_has_a_connection(self) -> Self:
        if OBJECTIVES[self.objective].distils and self.connection is None:
            raise ConfigError(
                f"objective {self.objective!r} on a model without a connection: there is nothing to learn from; give "
                "`connection`, or take the objective `sft`"
            )
        return self

    @model_validator(mode="after")
    def _decision_maker_has_a_rate_where_there_is_one(self) -> Self:
        rate = self.training.decision_maker_learning_rate
        selector = self.connection.selector if self.connection else None
        if rate is not None and not (self.connection and self.connection.has_own_rate):
            found = (
                "a model without a connection" if selector is None else f"connection.selector {selector!r} and no gate"
            )
            raise ConfigError(
                f"training.decision_maker_learning_rate is {rate} for {found}, which has no Decision Maker to train; "
                "leave the rate out"
            )
        return self
