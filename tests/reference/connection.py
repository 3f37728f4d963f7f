"""The method written out one row at a time: no hooks, no batch, no padding, no cache. Slow and obvious.

Each decoder layer is computed from its own parts (norm, attention, norm, feed-forward block), so that `f_l` is a
variable that can be read and changed where the equations say so.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def run_row(
    base: PreTrainedModel,
    ids: Tensor,
    position: int,
    vector: Tensor | None = None,
    source: str = "ffn",
    earlier: Mapping[int, Tensor] = MappingProxyType({}),
    site: str = "contribution",
    share: float | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits `[T, V]` of one row of token ids `[T]`, and `F [L, D]` of `source` at `position`.

    With `vector [D]`, what the first layer's feed-forward block adds to the residual at `position` is `f_1 + v`
    (eq. 5). At the site `block_output` both are taken before the norm that some families have behind a block.
    `earlier` are the vectors of earlier turns by their positions. With a `share`, a vector gives the direction alone:
    what is added is as long as that share of `f_1`, whose length is taken as a number. A vector `[L, D]` is one for
    each layer, added to what that layer's own block adds. A `gate` holds `w` and `b` for each layer to which something
    is added: that is multiplied by `2 / (1 + exp(-w f - b))`, of the direction of `f`.
    """
    added_at = dict(earlier) if vector is None else {**earlier, position: vector}
    decoder = base.model
    hidden = decoder.embed_tokens(ids[None])
    steps = torch.arange(ids.shape[0])[None]
    outputs = []
    for number, layer in enumerate(decoder.layers):
        attended, _ = layer.self_attn(
            _norm(layer, "input_layernorm")(hidden),
            position_embeddings=_rotary(decoder, number, hidden, steps),
            attention_mask=_mask(base, number, ids.shape[0]).to(hidden.dtype),
            past_key_values=None,
        )
        normalised = hasattr(layer, "post_feedforward_layernorm")  # Gemma 2 and 3, OLMo 2
        attention_added = layer.post_attention_layernorm(attended) if normalised else attended
        hidden = hidden + attention_added
        before = "pre_feedforward_layernorm" if normalised else "post_attention_layernorm"
        f = layer.mlp(_norm(layer, before)(hidden))
        after = _norm(layer, "post_feedforward_layernorm")
        if site == "contribution":
            f, attended = after(f), attention_added
        change = torch.zeros_like(f)
        for place, vectors in added_at.items():
            if number == 0 or vectors.dim() == 2:
                added_vector = vectors[number] if vectors.dim() == 2 else vectors
                change[0, place] = added_vector
                if share is not None:
                    length = share * f[0, place].detach().square().sum().sqrt()
                    change[0, place] = length * added_vector / added_vector.square().sum().sqrt()
                if gate is not None:
                    own = f[0, place].detach()
                    own = own / own.square().mean().sqrt()
                    opened = sum(w * x for w, x in zip(gate[number, :-1], own, strict=True)) + gate[number, -1]
                    change[0, place] = change[0, place].clone() * 2 / (1 + torch.exp(-opened))
        hidden = hidden + (f + change) if site == "contribution" else hidden + after(f + change)
        outputs.append({"ffn": f, "attention": attended, "block": hidden}[source][0, position])
    logits = base.lm_head(decoder.norm(hidden))[0]
    cap = getattr(base.config, "final_logit_softcapping", None)
    return (logits / cap).tanh() * cap if cap else logits, torch.stack(outputs)


def _norm(layer: nn.Module, name: str) -> nn.Module:
    return getattr(layer, name, nn.Identity())


def _rotary(decoder: nn.Module, number: int, hidden: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The rotary angles; Gemma 3 has two kinds of them."""
    if hasattr(decoder.rotary_emb, "sliding_attention_inv_freq"):
        return decoder.rotary_emb(hidden, steps, decoder.config.layer_types[number])
    return decoder.rotary_emb(hidden, position_ids=steps)


def _mask(base: PreTrainedModel, number: int, tokens: int) -> Tensor:
    """`[1, 1, T, T]`: a token sees itself and what is before it, within the window of a sliding layer."""
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None]
    hidden = key > query
    config = base.config
    layer_types = getattr(config, "layer_types", None)
    sliding = layer_types[number] == "sliding_attention" if layer_types else True
    if sliding and getattr(config, "sliding_window", None):
        hidden = hidden | (query - key >= config.sliding_window)
    return torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)[None, None]


def choose_layer(base: PreTrainedModel, weight: Tensor, source: Tensor, token: Tensor) -> int:
    """`argmax_l H`, `H = mean_l(F_l + e) W_DM` (eq. 3); `source [L, D]`, `weight [D, L]`."""
    embedding = base.model.embed_tokens(token)
    total = torch.zeros_like(embedding)
    for layer_output in source:
        total = total + (layer_output + embedding)
    return int((total / source.shape[0] @ weight).argmax())


def normalised(source: Tensor, mean: Tensor | None = None, deviation: Tensor | None = None) -> Tensor:
    """`(F_l - m_l) / s_l`, layer by layer and dimension by dimension; `source, mean, deviation [L, D]`.

    Without a deviation it is `F_l - m_l`. No dimension is divided by less than a hundredth of its layer's root mean
    square deviation.
    """
    if mean is None:
        return source
    layers = []
    for f, m, s in zip(source, mean, mean if deviation is None else deviation, strict=True):
        least = 0.01 * float(s.double().pow(2).mean()) ** 0.5
        divisors = torch.ones_like(s) if deviation is None else torch.tensor([max(float(one), least) for one in s])
        layers.append((f - m) / divisors)
    return torch.stack(layers)


def answer_row(
    base: PreTrainedModel,
    prompt: list[int],
    offset: int,
    new_tokens: int,
    vector: Tensor | None,
    share: float | None = None,
    gate: Tensor | None = None,
) -> list[int]:
    """The greedy continuation of one prompt, by a full forward pass over everything for each token."""
    position = len(prompt) - 1 - offset
    ids = list(prompt)
    for _ in range(new_tokens):
        logits, _ = run_row(base, torch.tensor(ids), position, vector, share=share, gate=gate)
        ids.append(int(logits[-1].argmax()))
    return ids[len(prompt) :]


def connection_vector(
    base: PreTrainedModel,
    weight: Tensor,
    transform_matrix: Tensor,
    prompt: list[int],
    offset: int,
    source: str = "ffn",
) -> tuple[Tensor, int]:
    """`v = F_hat_s` and `s` for one prompt by the Transform Matrix (section 3.2.2)."""
    ids = torch.tensor(prompt)
    position = len(prompt) - 1 - offset
    _, own = run_row(base, ids, position, source=source)
    predicted = own @ transform_matrix
    layer = choose_layer(base, weight, predicted, ids[position])
    return predicted[layer], layer


def token_mean_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """The summed negative log-likelihood of the labelled tokens of one row, and how many there are (eq. 1)."""
    total, count = torch.zeros(()), 0
    for step in range(len(labels) - 1):
        if labels[step + 1] != -100:
            total = total - logits[step].log_softmax(-1)[labels[step + 1]]
            count += 1
    return total, count


def straight_through(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """`g [L]` of eq. 4: one-hot in value, softmax in gradient."""
    soft = torch.softmax((logits + noise) / temperature, dim=-1)
    hard = torch.zeros_like(soft)
    hard[soft.argmax()] = 1.0
    return hard + soft - soft.detach()


def training_loss(
    base: PreTrainedModel,
    weight: Tensor | None,
    rows: list[dict[str, Tensor]],
    noise: Tensor,
    temperature: float = 1.0,
    source: str = "ffn",
    english_gradient: bool = False,
    site: str = "contribution",
    selector: str = "decision_maker",
    statistics: tuple[Tensor | None, Tensor | None] = (None, None),
    share: float | None = None,
    given: Sequence[Tensor | None] = (),
    gate: Tensor | None = None,
) -> Tensor:
    """Mean negative log-likelihood of the response tokens of a batch, row after row (section 3.2.1).

    A row holds `ids`, `labels` `[T]`, `position`, `english` ids and `english_position`; `statistics` are the mean and
    the deviation that activations are normalised with. `weight` is that of the Decision Maker, if it chooses. `given`
    are activations `[L, D]` that stand in the place of a row's English ones, where there are any.
    """
    total, tokens = torch.zeros(()), 0
    for row, row_noise, instead in zip(rows, noise, given or [None] * len(rows), strict=True):
        with torch.set_grad_enabled(english_gradient):
            _, english = run_row(base, row["english"], int(row["english_position"]), source=source, site=site)
        english = english if instead is None else instead
        english = normalised(english, *statistics)
        if selector == "decision_maker":
            embedding = base.model.embed_tokens(row["ids"][row["position"]])
            logits = (english + embedding).mean(0) @ weight
            g = straight_through(logits, row_noise, temperature)
        elif selector in ("mean", "every"):
            g = torch.full((len(english),), 1 / len(english))
        else:
            g = torch.zeros(len(english))
            g[row_noise.argmax()] = 1.0
        if selector == "every":
            vector = english
        else:
            vector = torch.stack([g[layer] * english[layer] for layer in range(len(english))]).sum(0)
        predictions, _ = run_row(base, row["ids"], int(row["position"]), vector, site=site, share=share, gate=gate)
        loss, count = token_mean_loss(predictions, row["labels"])
        total, tokens = total + loss, tokens + count
    return total / tokens
