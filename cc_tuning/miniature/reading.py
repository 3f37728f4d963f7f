"""Documents as token ids, in batches, for a causal language model that reads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cc_tuning.miniature.length_batches import IGNORED_LABEL, batches_of_like_length, padded
from cc_tuning.text.prompts import ChatPrompts


@dataclass(frozen=True)
class Document:
    """A text to read, or the answer to a prompt, which is then read in the chat format and not predicted."""

    text: str
    prompt: str | None = None


@dataclass(frozen=True)
class EncodedDocument:
    """Ids and as many labels."""

    input_ids: list[int]
    labels: list[int]


def encode_documents(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast, longest: int
) -> list[EncodedDocument]:
    """The documents as ids: plain text between the tokens that begin and end a text, conversations as in training.

    Of more than `longest` tokens one document becomes several.
    """
    plain = [document.text for document in documents if document.prompt is None]
    end: list[int] = [tokenizer.eos_token_id]
    encoded = []
    for encoding in tokenizer.backend_tokenizer.encode_batch(plain):
        ids = encoding.ids + end
        encoded.append(EncodedDocument(ids, ids))
    asked = [(document.prompt, document.text) for document in documents if document.prompt is not None]
    examples = ChatPrompts(tokenizer).encode_examples([prompt for prompt, _ in asked], [text for _, text in asked])
    for example in examples:
        given = [IGNORED_LABEL] * example.prompt_length
        encoded.append(EncodedDocument(example.input_ids, given + example.input_ids[example.prompt_length :]))
    return [
        EncodedDocument(document.input_ids[first : first + longest], document.labels[first : first + longest])
        for document in encoded
        for first in range(0, len(document.input_ids), longest)
    ]


def batches_of_documents(
    documents: Sequence[EncodedDocument], tokenizer: PreTrainedTokenizerFast, batch_tokens: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: input_ids and labels, [B, T] int64. Padding is on the right, where causal attention from
    the text cannot see it, so no attention mask is needed."""
    padding: int = tokenizer.pad_token_id
    for positions in batches_of_like_length([len(document.input_ids) for document in documents], batch_tokens, seed):
        chosen = [documents[position] for position in positions]
        yield {
            "input_ids": padded([document.input_ids for document in chosen], padding),
            "labels": padded([document.labels for document in chosen], IGNORED_LABEL),
        }


def reading_loss(model: LlamaForCausalLM, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean negative log-likelihood of the labelled tokens.

    The same as the model's own loss; here the scores over the vocabulary, two fifths of all arithmetic at this size,
    are computed for labelled tokens only.
    """
    hidden = model.model(input_ids=batch["input_ids"]).last_hidden_state[:, :-1]
    labels = batch["labels"][:, 1:]
    learned = labels != IGNORED_LABEL
    return functional.cross_entropy(model.lm_head(hidden[learned]), labels[learned])
