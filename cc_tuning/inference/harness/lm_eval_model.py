"""lm-eval's model `cc_tuning`: its own Hugging Face model, with the connection at the end of the context.

Tokenization, truncation from the left, batches by length, stop strings, the response cache and data parallelism are
those of lm-eval's `hf` (`HFLM`, lm-eval 0.4). What a forward pass computes is this project's: continuations are scored
by `inference.loglikelihoods`, answers are written by the model's own `generate`, each with the vector at t*, the last
token of the context (less the connection's offset). With the connection off it gives what `hf` gives.

lm-eval finds a model by its name in a registry that nothing outside of it can enter but by being imported first: import
this module before lm-eval runs, or use `cc-tuning lm-eval` (`command.py`), which does so.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator
from lm_eval.models.utils_hf import get_dtype, stop_sequences_criteria
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.inference.loglikelihoods import score_continuations
from cc_tuning.inference.prompts import Prompt, check_can_connect
from cc_tuning.model import ConnectionMode, CrossLingualModel, load_checkpoint
from cc_tuning.model.transform_matrix import ENGLISH
from cc_tuning.runtime.devices import resolve_device

MODEL_NAME = "cc_tuning"
CONNECTIONS: tuple[ConnectionMode, ...] = ("off", "transform", "identity")

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""Context and continuation, as text (none in a window of a longer text) and as token ids."""

logger = logging.getLogger(__name__)

_NEEDS_MORE_THAN_A_CONTEXT = {
    "parallel": "it reads the English version of each prompt",
    "other": "it reads the English version of another prompt",
    "constant": "it is the mean over many English prompts",
}


@register_model(MODEL_NAME)
class ConnectedLM(HFLM):
    """A checkpoint directory as a model of lm-eval.

    `connection` is `transform`, `off`, or `identity`, which carries over the context's own activations as they are.
    `is_english` says that the tasks are English; asked by checkpoints with `connection.english: identity` alone.
    `language`, a FLORES code or `mean`, is that of the tasks; asked by maps with an intercept for each language alone.
    `attention` is an implementation of transformers; all other arguments are those of lm-eval's `hf`.

    Raises:
        ConfigError: an argument or a connection that there is not, one that lm-eval's requests lack something for, or
            one that the checkpoint lacks something for.
        ArtifactMismatch: the checkpoint is damaged.
    """

    def __init__(
        self,
        checkpoint: str,
        connection: str = "transform",
        transform_matrix: str | None = None,
        is_english: bool = False,
        language: str = "",
        attention: str = "sdpa",
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        batch_size: int | str = 1,
        max_batch_size: int = 64,
        max_length: int | None = None,
        truncation: bool = False,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        think_end_token: str | int | None = None,
        enable_thinking: bool | None = None,
        chat_template_args: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        _check_arguments(Path(checkpoint), connection, unknown)
        self._connection: Any = connection
        self._matrix = transform_matrix
        self._attention = attention
        self._is_english = is_english
        self._language = language or (ENGLISH if is_english else "")
        self._connected: CrossLingualModel | PreTrainedModel
        super().__init__(
            pretrained=str(checkpoint),
            backend="causal",
            device=device if ":" in device else str(resolve_device(device)),  # `cuda:1` names one of several
            dtype=dtype,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            max_length=max_length,
            truncation=truncation,
            logits_cache=False,  # its key for equal passes has not the connection's place in it
            add_bos_token=add_bos_token,
            prefix_token_id=prefix_token_id,
            think_end_token=think_end_token,
            enable_thinking=enable_thinking,
            chat_template_args=chat_template_args,
        )

    def _create_model(self, pretrained: str, dtype: str | torch.dtype = "auto", **arguments: Any) -> None:
        """Load the checkpoint; what lm-eval knows as the model is the language model inside of it."""
        loaded = load_checkpoint(pretrained, get_dtype(dtype), self.device, self._matrix, self._attention)
        check_can_connect(isinstance(loaded, CrossLingualModel), self._connection)
        if isinstance(loaded, CrossLingualModel):
            if self._connection == "identity":
                loaded.set_transform_matrix(torch.eye(loaded.config.hidden_size))
            elif self._connection == "transform" and loaded.transform is None:
                raise ConfigError(
                    f"connection=transform needs a Transform Matrix and {pretrained} holds none; give the file of a "
                    "transform artifact as transform_matrix=FILE, take the published checkpoint, or use connection=off"
                )
        self._connected = loaded
        self._model = loaded.base if isinstance(loaded, CrossLingualModel) else loaded

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into its results about the model; with the connection, and without asking the hub."""
        return {
            "model_num_parameters": self.model.num_parameters(),
            "model_dtype": self.model.dtype,
            "model_revision": None,
            "model_sha": "",
            "cc_tuning_connection": self._connection,
        }

    # -- likelihoods

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Context and continuation as token ids.

        lm-eval moves all white space from the end of the context to the continuation, and with it the line ends that
        close a chat prompt, at which the connection was trained. With a connection only blanks are moved.
        """
        if self._connection == "off":
            pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return pair
        context_ids = self.tok_encode(context.rstrip(" ") or context)
        return context_ids, self.tok_encode(context + continuation)[len(context_ids) :]

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats, summed in float32) and greediness of each continuation, in the order of the requests.

        A text without a context (`loglikelihood_rolling`) has no t*: its windows are scored with the connection off.
        """
        ordered = Collator(requests, sort_fn=lambda request: (-len(request[1] + request[2]), request[1] + request[2]))
        scores: list[tuple[float, bool]] = []
        bar = tqdm(total=len(requests), disable=disable_tqdm or self.rank != 0, desc="Running loglikelihood requests")
        with bar:
            for batch in ordered.get_batched(n=self._rows(requests, override_bs)):
                found = self._score(batch)
                for (text, _, _), score in zip(batch, found, strict=True):
                    if text is not None:
                        self.cache_hook.add_partial("loglikelihood", text, score)
                scores += found
                bar.update(len(batch))
        original: list[tuple[float, bool]] = ordered.get_original(scores)
        return original

    def _rows(self, requests: Sequence[Request], override_bs: int | None) -> int:
        """The rows of a batch; with `auto`, as many as the longest request leaves room for."""
        if override_bs is not None:
            return override_bs
        if self.batch_size != "auto":
            return int(self.batch_size)
        longest = max(range(len(requests)), key=lambda place: len(requests[place][1]) + len(requests[place][2]))
        return int(self._detect_batch_size(requests, longest))

    def _score(self, batch: Sequence[Request]) -> list[tuple[float, bool]]:
        prompts, continuations = [], []
        for place, (_, context, continuation) in enumerate(batch):
            room = self.max_length + 1 - len(continuation)  # the last token is predicted, and need not be read
            if room < 1:
                raise ConfigError(
                    f"a continuation has {len(continuation)} tokens, more than the {self.max_length} that the model "
                    "reads at once; leave its item out, or give a larger max_length"
                )
            if len(context) > room:
                logger.warning("a context of %d tokens was cut to its last %d", len(context), room)
            prompts.append(Prompt(str(place), context[-room:], is_english=self._is_english, language=self._language))
            continuations.append(continuation)
        is_rolling = any(text is None for text, _, _ in batch)
        scores = score_continuations(self._connected, prompts, continuations, self._mode(is_rolling))
        return [(score.log_likelihood, score.is_greedy) for score in scores]

    def _mode(self, is_rolling: bool = False) -> ConnectionMode:
        """How this project knows the connection; `identity` is the transform by a matrix that changes nothing."""
        if is_rolling or self._connection == "off":
            return "off"
        return "transform"

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, by the language model alone: a text has no prompt to connect."""
        if self._connection != "off":
            logger.warning("loglikelihood_rolling scores texts without a prompt; the connection is off for them")
        scores: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        return scores

    # -- answers

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], attention_mask: Tensor, **arguments: Any
    ) -> Tensor:
        """Contexts `[B, T]`, padded on the left, with their answers behind them."""
        if not arguments.get("do_sample"):
            arguments = {name: value for name, value in arguments.items() if name != "temperature"}
            arguments["do_sample"] = False
        if isinstance(self._connected, CrossLingualModel):
            arguments["connection"] = self._mode()
            if self._mode() == "transform":
                rows = context.shape[0]
                arguments["english_rows"] = torch.full((rows,), self._is_english, device=context.device)
                arguments["languages"] = [self._language] * rows if self._language else None
        model: Any = self._connected
        output: Tensor = model.generate(
            context,
            attention_mask=attention_mask,
            max_length=max_length,
            stopping_criteria=stop_sequences_criteria(self.tokenizer, stop, context.shape[1], context.shape[0]),
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **arguments,
        )
        return output


def _check_arguments(checkpoint: Path, connection: str, unknown: dict[str, Any]) -> None:
    if unknown:
        raise ConfigError(
            f"lm-eval's model {MODEL_NAME} got model_args {', '.join(sorted(unknown))}, which it does not know; it "
            "takes checkpoint, connection, transform_matrix, is_english, language, attention, dtype, max_length, "
            "truncation, add_bos_token, prefix_token_id, think_end_token, enable_thinking and chat_template_args"
        )
    if not checkpoint.is_dir():
        raise ConfigError(
            f"{checkpoint.absolute()} is not a directory; expected checkpoint=DIR, a checkpoint directory"
        )
    if reason := _NEEDS_MORE_THAN_A_CONTEXT.get(connection):
        raise ConfigError(
            f"connection={connection} cannot be used in lm-eval: {reason}, and a request there has none; "
            f"use one of {', '.join(CONNECTIONS)}, or `cc-tuning evaluate` for the others"
        )
    if connection not in CONNECTIONS:
        known = (*CONNECTIONS, *(mode for mode in get_args(ConnectionMode) if mode not in CONNECTIONS))
        raise ConfigError(f"connection={connection!r} is none of {', '.join(known)}")
