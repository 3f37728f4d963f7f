"""The size of what the connection adds, beside what it is added to.

At t* of a prompt the first layer's `f_1` becomes `f_1 + v` (Ye et al. 2025, eq. 5) and joins the residual. A `v` of a
hundredth of both changes little, and so does one that is the same for every prompt. So the sizes of `v`, of the part of
it that varies with the prompt, of `f_1`, and of the residual after layer 1 are measured together, with the English
prompt at hand: this is the connection at its best, before any map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cc_tuning.model import CrossLingualModel
from cc_tuning.model.hooks import recorded_activations
from cc_tuning.model.injection import added_to
from cc_tuning.model.positions import key_of_rows, position_ids_of
from cc_tuning.transform.activations import SampledPair, padded_prompts


@torch.no_grad()
def connection_strength(
    model: CrossLingualModel, pairs: Sequence[SampledPair], batch_size: int, padding_id: int
) -> dict[str, float]:
    """Root mean squares over `pairs` of Euclidean norms: `v_norm`, `v_varying_norm` about the mean of v, `f1_norm` and
    `residual_norm`; and `strength_pairs`. In the units of the model's residual. Where every layer gets its own vector,
    they are those of the first layer, and of several positions those of t*.

    Raises:
        PromptNotFound: a prompt is too short to hold t*.
    """
    vectors, blocks, residuals = [], [], []
    for first in range(0, len(pairs), batch_size):
        batch = pairs[first : first + batch_size]
        ids, mask, positions = padded_prompts(model, [pair.input_ids for pair in batch], padding_id)
        f, after = _first_layer(model, ids, mask, positions)
        english = model.activations(*padded_prompts(model, [pair.english_input_ids for pair in batch], padding_id))
        embedding = model.embed_connected(ids, mask, positions)
        decision = model.decide(english, embedding, key_of_rows(ids, mask, positions), None)
        at_last = decision.vector if model.connection.positions == 1 else decision.vector[:, 0]
        vector = at_last if at_last.dim() == 2 else at_last[:, 0]
        gate = None if decision.gate is None else decision.gate[0]
        vectors.append(added_to(f, vector, model.connection.share, gate))
        blocks.append(f)
        residuals.append(after)
    v, f_1, residual = (torch.cat(of).double() for of in (vectors, blocks, residuals))
    sizes = {"v_norm": v, "v_varying_norm": v - v.mean(0), "f1_norm": f_1, "residual_norm": residual}
    figures = {name: float(rows.square().sum(1).mean().sqrt()) for name, rows in sizes.items()}
    return {**figures, "strength_pairs": len(pairs)}


def _first_layer(model: CrossLingualModel, ids: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """`f_1` at the site of the connection and the residual after layer 1, at t*: `[B, D]` each."""
    components = model.components
    with (
        recorded_activations(components, "ffn", positions) as blocks,
        recorded_activations(components, "block", positions) as layers,
    ):
        components.decoder(
            input_ids=ids, attention_mask=mask, position_ids=position_ids_of(mask), use_cache=False
        )  # fmt: skip
    return blocks.stack()[:, 0], layers.stack()[:, 0]
