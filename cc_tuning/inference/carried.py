"""What a connection adds at t* of each prompt of a batch, in each of its modes.

    v = sum_l g_l F_l   (Ye et al. 2025, eq. 4), F being

`transform`: what the Transform Matrix makes of the prompt's own activations. `parallel`: the activations of the
English prompt beside it. The controls take the content away and leave the rest as it is: `other` reads the English
prompt of another item (whoever asks gives that one), `identity` the prompt's own activations, and `constant` adds the
mean over all prompts of what `parallel` adds; with `connection.scale` that is the mean of its directions, as long as
it comes out. What `parallel` has beyond them is what its English prompts say.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.inference.prompts import PADDING_ID, Prompt, english_batch, english_rows, languages_of, longest_first
from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.positions import Prompts
from cc_tuning.model.prompt_pass import Choice
from cc_tuning.runtime.padding import padded


def carried_choice(
    model: CrossLingualModel,
    prompts: Sequence[Prompt],
    connected: Prompts,
    connection: ConnectionMode,
    constant: Tensor | None = None,
) -> Choice:
    """How the vector of each prompt is found; `connected` are the prompts as a batch, `constant` is for that mode.

    Raises:
        ConfigError: a prompt has no English prompt and the mode reads one; no constant, or one in another mode; or the
            model has no Transform Matrix.
        PromptNotFound: an English prompt is too short to hold t*.
    """
    if (connection == "constant") != (constant is not None):
        raise ConfigError(
            f"connection={connection!r} got {'no' if constant is None else 'a'} constant vector; it goes with "
            "'constant', and only with it: make it with `mean_carried_vector` over all prompts"
        )
    if constant is not None:
        layers, gate = model.config.num_hidden_layers, model.decision_maker.gate
        assert gate is None or isinstance(gate, Tensor)
        return Decision.constant(constant.to(model.device), len(prompts), layers, gate)
    if connection in ("parallel", "other"):
        offset = model.connection.offset
        english = Prompts.found_in(*english_batch(prompts, model.device, connection), offset, "English")
        return model.choice(connection, connected, english)
    own = english_rows(prompts, model.device)
    return model.choice(connection, connected, english_rows=own, languages=languages_of(prompts))


@torch.no_grad()
def mean_carried_vector(model: CrossLingualModel, prompts: Sequence[Prompt], batch_size: int) -> Tensor:
    """The mean `[D]` float32 over `prompts` of what `parallel` adds at t*, `[L, D]` where every layer gets its own, and
    with several positions n of these in a row.

    Each vector is computed in a batch and they are summed in float64 in the order of the prompts, so batches change
    no more than the rounding of a single vector.

    Raises:
        ConfigError: a prompt has no English prompt.
        PromptNotFound: a prompt is too short to hold t*.
    """
    vectors: dict[int, Tensor] = {}
    lengths = [len(prompt.english_input_ids or ()) for prompt in prompts]
    for batch in longest_first(lengths, batch_size):
        asked = [prompts[place] for place in batch]
        ids, mask = padded([prompt.input_ids for prompt in asked], PADDING_ID, "left")
        connected = Prompts.found_in(ids.to(model.device), mask.to(model.device), model.connection.offset, "connected")
        decision = carried_choice(model, asked, connected, "parallel")
        assert isinstance(decision, Decision)  # English prompts decide at once
        vectors |= dict(zip(batch, decision.vector.double().cpu(), strict=True))
    return torch.stack([vectors[place] for place in range(len(prompts))]).mean(0).float()
