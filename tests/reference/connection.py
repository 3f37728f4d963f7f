"""The method written out one row at a time: no hooks, no batch, no padding, no cache. Slow and obvious.

Each decoder layer is computed from its own parts (norm, attention, norm, feed-forward block), so that `f_l` is a
variable that can be read and changed where the equations say so.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel


def run_row(base: PreTrainedModel, ids: Tensor, position: int, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Logits `[T, V]` of one row of token ids `[T]`, and `F [L, D]` at `position`.

    With `vector [D]`, the first layer's feed-forward output at `position` is `f_1 + v` (eq. 5).
    """
    decoder = base.model
    hidden = decoder.embed_tokens(ids[None])
    steps = torch.arange(ids.shape[0])[None]
    rotary = decoder.rotary_emb(hidden, position_ids=steps)
    future = torch.ones(ids.shape[0], ids.shape[0], dtype=torch.bool).triu(1)
    mask = torch.zeros(future.shape).masked_fill(future, torch.finfo(torch.float32).min)[None, None]
    ffn_outputs = []
    for number, layer in enumerate(decoder.layers):
        attended, _ = layer.self_attn(
            layer.input_layernorm(hidden),
            position_embeddings=rotary,
            attention_mask=mask,
            past_key_values=None,
        )
        hidden = hidden + attended
        f = layer.mlp(layer.post_attention_layernorm(hidden))
        ffn_outputs.append(f[0, position])
        if number == 0 and vector is not None:
            change = torch.zeros_like(f)
            change[0, position] = vector
            f = f + change
        hidden = hidden + f
    return base.lm_head(decoder.norm(hidden))[0], torch.stack(ffn_outputs)


def choose_layer(base: PreTrainedModel, weight: Tensor, source: Tensor, token: Tensor) -> int:
    """`argmax_l H`, `H = mean_l(F_l + e) W_DM` (eq. 3); `source [L, D]`, `weight [D, L]`."""
    embedding = base.model.embed_tokens(token)
    total = torch.zeros_like(embedding)
    for layer_output in source:
        total = total + (layer_output + embedding)
    return int((total / source.shape[0] @ weight).argmax())


def answer_row(
    base: PreTrainedModel, prompt: list[int], offset: int, new_tokens: int, vector: Tensor | None
) -> list[int]:
    """The greedy continuation of one prompt, by a full forward pass over everything for each token."""
    position = len(prompt) - 1 - offset
    ids = list(prompt)
    for _ in range(new_tokens):
        logits, _ = run_row(base, torch.tensor(ids), position, vector)
        ids.append(int(logits[-1].argmax()))
    return ids[len(prompt) :]


def connection_vector(
    base: PreTrainedModel, weight: Tensor, transform_matrix: Tensor, prompt: list[int], offset: int
) -> tuple[Tensor, int]:
    """`v = F_hat_s` and `s` for one prompt by the Transform Matrix (section 3.2.2)."""
    ids = torch.tensor(prompt)
    position = len(prompt) - 1 - offset
    _, own = run_row(base, ids, position)
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
    base: PreTrainedModel, weight: Tensor, rows: list[dict[str, Tensor]], noise: Tensor, temperature: float = 1.0
) -> Tensor:
    """Mean negative log-likelihood of the response tokens of a batch, row after row (section 3.2.1).

    A row holds `ids`, `labels` `[T]`, `position`, `english` ids and `english_position`. The English pass is detached.
    """
    total, tokens = torch.zeros(()), 0
    for row, row_noise in zip(rows, noise, strict=True):
        with torch.no_grad():
            _, english = run_row(base, row["english"], int(row["english_position"]))
        embedding = base.model.embed_tokens(row["ids"][row["position"]])
        logits = (english + embedding).mean(0) @ weight
        g = straight_through(logits, row_noise, temperature)
        vector = torch.stack([g[layer] * english[layer] for layer in range(len(english))]).sum(0)
        predictions, _ = run_row(base, row["ids"], int(row["position"]), vector)
        loss, count = token_mean_loss(predictions, row["labels"])
        total, tokens = total + loss, tokens + count
    return total / tokens
