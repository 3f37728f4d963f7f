"""The settings of the connection: all that it is apart from the weights. Part of a run's identity."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Selector = Literal["decision_maker", "mean", "random", "every"]
Target = Literal["first", "same"]
Gate = Literal["none", "state"]
ActivationSource = Literal["ffn", "attention", "block"]
Site = Literal["contribution", "block_output"]
Normalisation = Literal["none", "centred", "standardised"]
ConnectionMode = Literal["off", "transform", "parallel", "constant", "other", "identity"]
"""What is added at t*: nothing; what the Transform Matrix predicts; the English prompt's own activation. And the
controls: the mean of what `parallel` adds; the activation of another English prompt; the prompt's own activation."""
NEED_ENGLISH: frozenset[ConnectionMode] = frozenset({"parallel", "constant", "other"})
"""The modes that read an English prompt beside each prompt."""


class ConnectionConfig(BaseModel):
    """Where the connection sits and how its source layer is chosen (Ye et al. 2025, section 3.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    selector: Selector = Field(
        "decision_maker",
        description="How the English layer is chosen: by the trained Decision Maker (the paper's method), as the "
        "mean over layers, or one layer at random (the paper's two ablations). `every` chooses none: each layer's "
        "activation goes to its own layer, with `target: same`.",
    )
    target: Target = Field(
        "first",
        description="Where `v` is added: to the first layer's feed-forward output (the paper's method), or `same`, "
        "each English layer's activation to the feed-forward output of the same layer. Ours; with `selector: every`.",
    )
    source: ActivationSource = Field(
        "ffn",
        description="Which activation of a layer is carried over: the output of its feed-forward block (the paper's "
        "method), of its attention block, or of the whole decoder layer (the paper's two ablations). It is added to "
        "the first layer's feed-forward output in each case.",
    )
    site: Site = Field(
        "contribution",
        description="Where a block's activation is read and `v` is added: at what the block contributes to the "
        "residual, as equation 5 has it, or at the block's own output, before a norm that stands between the two in "
        "Gemma 2, Gemma 3 and OLMo 2. Elsewhere both are one place.",
    )
    normalise: Normalisation = Field(
        "none",
        description="What is taken out of activations before a layer is chosen and carried over: nothing (the paper's "
        "method), each layer's mean over training prompts, or its mean and its standard deviation. Ours: at t* nearly "
        "all of an activation is the same for every prompt.",
    )
    statistics_rows: int = Field(
        1024,
        ge=2,
        description="Training rows whose English prompts give mean and standard deviation, drawn by a hash of "
        "`training.seed` and row id; all of them where there are fewer. Only with `normalise`.",
    )
    scale: Annotated[float, Field(gt=0)] | Literal["learned"] | None = Field(
        None,
        description="Length of `v` as a share of that of `f_1`, or of the output of whichever layer it is added to; "
        "`learned`, one number that is trained with the selector, from 1 on; unset, `v` is as long as the activation "
        "that it is (the paper's method).",
    )
    gate: Gate = Field(
        "none",
        description="What `v` is multiplied with: nothing (the paper's method), or `state`, a number from 0 to 2 that "
        "the prompt decides by its own state at t*, `2 sigmoid(w f_1 + b)`, trained with the selector from 1 on; with "
        "`target: same` one for each layer. Ours.",
    )
    english_gradient: bool = Field(
        False,
        description="Whether the gradient flows back through the English pass. Off is what the authors' shipped "
        "configuration computes, and cheaper; on is the named variant (docs/deviations.md).",
    )
    predicted_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training rows, drawn anew in each epoch by a hash of `training.seed`, epoch and row "
        "id, whose English activations are what a map makes of the row's own: the model then learns to read what it "
        "gets at inference. It costs one more pass over the prompts, without gradient. 0 is the paper's method.",
    )
    predicted_refit: int = Field(
        50,
        ge=1,
        description="Training steps after which that map is fitted anew, by least squares over the rows trained so "
        "far, those of an interval counting half as much as those of the next. Before the first fit every row has its "
        "English prompt.",
    )
    position: Literal["last_prompt_token"] = Field(
        "last_prompt_token",
        description="Which token is t*: counted from the last token of the rendered generation prompt, the one "
        "position known for every chat template before the response exists.",
    )
    offset: int = Field(
        0,
        ge=0,
        description="Tokens between t* and the last prompt token. 0 is the authors' position for Llama 3; 1 is "
        "theirs for Qwen 2, the token `assistant` before the newline.",
    )
    positions: int = Field(
        1,
        ge=1,
        description="How many of the last prompt positions are connected: t* and the tokens before it, each with what "
        "the English prompt has at the same distance from its own t*. 1 is the paper's method.",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        description="tau of the Gumbel-softmax (eq. 4). The paper gives no value; the authors' code uses 1.",
    )
    final_temperature: float | None = Field(
        None,
        gt=0,
        description="tau of the last training step; unset, it stays at `temperature`. Evaluation takes the argmax and "
        "has no temperature.",
    )
    temperature_course: Literal["geometric", "linear"] = Field(
        "geometric", description="How tau goes from `temperature` to `final_temperature`, step by step."
    )
    english: Literal["transform", "identity"] = Field(
        "transform",
        description="What an English prompt is connected with at inference: its own activations through W_T, the "
        "rule of every other language (the authors' code), or its own activations as they are.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Seed of the selector `random` in evaluation, where a row's layer depends on this and on the "
        "row's prompt only. Training draws anew in each epoch, by `training.seed`.",
    )

    @model_validator(mode="after")
    def _statistics_are_used(self) -> Self:
        default = ConnectionConfig.model_fields["statistics_rows"].default
        if self.normalise == "none" and self.statistics_rows != default:
            raise ValueError(
                f"connection.statistics_rows is {self.statistics_rows}, but connection.normalise is 'none', which "
                "measures nothing; leave the number out, or choose centred or standardised"
            )
        return self

    @model_validator(mode="after")
    def _fits_are_used(self) -> Self:
        default = ConnectionConfig.model_fields["predicted_refit"].default
        if not self.predicted_share and self.predicted_refit != default:
            raise ValueError(
                f"connection.predicted_refit is {self.predicted_refit}, but connection.predicted_share is 0, for which "
                "nothing is fitted; leave the number out, or give a share"
            )
        return self

    @model_validator(mode="after")
    def _every_layer_has_its_own_target(self) -> Self:
        if (self.target == "same") != (self.selector == "every"):
            raise ValueError(
                f"connection.target is {self.target!r} and connection.selector is {self.selector!r}: with the target "
                "'same' each layer gets its own English activation and none is chosen, so the two go together as "
                "`target: same` and `selector: every`; or set both to what the target 'first' takes"
            )
        return self

    @property
    def chooses_layer(self) -> bool:
        """Whether one layer is chosen for each prompt, so that there is one to name and noise in its choice."""
        return self.selector in ("decision_maker", "random")

    @property
    def has_own_rate(self) -> bool:
        """Whether the connection has weights that `training.decision_maker_learning_rate` is for."""
        return self.selector == "decision_maker" or self.gate != "none"

    @property
    def learns_scale(self) -> bool:
        """Whether the length of `v` is trained."""
        return self.scale == "learned"

    @property
    def share(self) -> float | None:
        """The length of what the selector gives, as a share of that of `f_1`; None where it is as long as it is.

        A learned share is in the vector already, times which `||f_1||` is added.
        """
        return 1.0 if self.scale == "learned" else self.scale
