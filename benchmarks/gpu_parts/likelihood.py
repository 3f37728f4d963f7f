"""ML-SFT and CC-Tuning of a small real model on the same rows, and what each makes of held-out responses.

    (1 / tokens) Σ log p(response | prompt)        higher is better; tokens of all held-out responses

CC-Tuning is read four ways: the connection off, with the Transform Matrix (fitted on training rows, as for use), with
the row's own English prompt, and with that of another row, which tells whether the English content matters. It trains
first and for as long as it may; ML-SFT then takes as many steps.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.model import CrossLingualModel
from cc_tuning.model.injection import injected
from cc_tuning.model.positions import key_of_rows, position_ids_of
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from gpu_parts.board import Board, release_memory
from gpu_parts.options import Options
from gpu_parts.rows import Batch, Collator, Row, own_side, read_rows
from gpu_parts.tuning import Experiment, tuned_base, tuned_connection

HELD_OUT_SHARE = 8  # one row in so many, at the end of the file
OTHER_ENGLISH = "another row's English"
SOURCES = ("transform", "parallel", OTHER_ENGLISH)


@torch.no_grad()
def log_likelihoods(base: PreTrainedModel, experiment: Experiment) -> Tensor:
    """`Σ log p` of each held-out response `[N]` without a connection."""
    found = []
    for batch in experiment.batches(experiment.held_out):
        kept = batch["labels"].shape[1]
        logits = base(**own_side(batch), logits_to_keep=kept, use_cache=False).logits
        found.append(log_likelihood_of(logits, batch["labels"]))
    return torch.cat(found)


@torch.no_grad()
def connected_log_likelihoods(model: CrossLingualModel, experiment: Experiment, source: str) -> tuple[Tensor, Tensor]:
    """`Σ log p` of each held-out response with the connection, and the layer each row was connected with; `[N]`."""
    found, layers = [], []
    rows = experiment.held_out
    if source == OTHER_ENGLISH:
        rows = with_other_english(rows)
    for batch in experiment.batches(rows):
        logits, layer = connected_logits(model, batch, source)
        found.append(log_likelihood_of(logits, batch["labels"]))
        layers.append(layer)
    return torch.cat(found), torch.cat(layers)


def with_other_english(rows: Sequence[Row]) -> list[Row]:
    """Each row with the English prompt of the next one, around the end, whose English prompt is another."""
    prompts = [row.english_input_ids for row in rows]
    changed = []
    for place, row in enumerate(rows):
        following = [*prompts[place + 1 :], *prompts[:place]]
        other = next((ids for ids in following if ids != row.english_input_ids), None)
        if other is None:
            raise ValueError(f"all {len(rows)} held-out rows have the same English prompt; give rows that differ")
        changed.append(replace(row, english_input_ids=other))
    return changed


def connected_logits(model: CrossLingualModel, batch: Batch, source: str) -> tuple[Tensor, Tensor]:
    """Logits `[B, K, V]` of prompts with their responses, connected at t*, and the layers that were chosen `[B]`."""
    ids, mask, positions = (batch[name] for name in ("input_ids", "attention_mask", "connection_positions"))
    if source == "transform":
        # Attention is causal: what stands behind t* does not reach the activations at t*.
        english = model.predicted_english(model.activations(ids, mask, positions))
    else:
        english = model.activations(
            *(batch[f"english_{name}"] for name in ("input_ids", "attention_mask", "positions"))
        )
    embedded = model.embed(ids)
    at_connection = embedded[torch.arange(len(ids), device=ids.device), positions]
    decision = model.decide(english, at_connection, key_of_rows(ids, mask, positions), None)
    with injected(model.components, positions, decision.vector, model.connection.scale):
        output = model.base(
            inputs_embeds=embedded, attention_mask=mask, position_ids=position_ids_of(mask), use_cache=False,
            logits_to_keep=batch["labels"].shape[1],
        )  # fmt: skip
    return output.logits, decision.selected_layer


def log_likelihood_of(logits: Tensor, labels: Tensor) -> Tensor:
    """`Σ log p` of the labels of each row `[B]`, from `logits [B, K, V]`; each position predicts the next label."""
    predicted, wanted = logits[:, :-1].float().log_softmax(-1), labels[:, 1:]
    of_wanted = predicted.gather(-1, wanted.clamp_min(0)[..., None])[..., 0]
    return of_wanted.where(wanted >= 0, 0.0).sum(1)


def prepared(options: Options, board: Board) -> Experiment:
    """The rows of `--rows` for the model of `--model`; the last eighth is held out."""
    tokenizer = load_tokenizer(str(options.model), options.chat_template)  # type: ignore[arg-type]
    assert options.rows is not None
    rows, too_long = read_rows(options.rows, ChatPrompts(tokenizer))
    held_out = max(len(rows) // HELD_OUT_SHARE, 2)
    board.add("rows", training=len(rows) - held_out, held_out=held_out, too_long=too_long)
    collate = Collator(int(tokenizer.pad_token_id), offset=0, device=board.device)
    return Experiment(str(options.model), rows[:-held_out], rows[-held_out:], collate, options.learning_rate)


def measure(options: Options, board: Board) -> None:
    """Train twice; rows for each way to read the held-out responses, and their gains to ML-SFT."""
    experiment = prepared(options, board)
    tokens = torch.tensor([row.response_tokens for row in experiment.held_out])
    sums: dict[str, Tensor] = {}

    def add(name: str, of_rows: Tensor) -> None:
        sums[name] = of_rows.cpu()
        board.add(name, log_likelihood=float(of_rows.sum()) / int(tokens.sum()))

    add("untrained", log_likelihoods(experiment.load(), experiment))
    model, steps = tuned_connection(experiment, board.left * 0.4, board)
    add("CC-Tuning, off", log_likelihoods(model.base, experiment))
    layers = {}
    for source in SOURCES:
        of_rows, layers[source] = connected_log_likelihoods(model, experiment, source)
        add(f"CC-Tuning, {source}", of_rows)
    for source, chosen in layers.items():
        agreement = float((chosen == layers["parallel"]).float().mean())
        board.add(f"layers, {source}", most_frequent=int(chosen.mode().values), same_as_parallel=agreement)
    del model
    release_memory()
    add("ML-SFT", log_likelihoods(tuned_base(experiment, steps, board), experiment))
    for name, of_rows in sums.items():
        gains = (of_rows - sums["ML-SFT"]) / tokens
        error = float(gains.std()) / math.sqrt(len(gains))
        board.add(f"{name}, gain to ML-SFT by row", mean=float(gains.mean()), standard_error=error)
