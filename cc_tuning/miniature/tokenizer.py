"""A byte-level tokenizer with the control tokens and the chat template of Llama 3, trained on given text."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BEGIN_OF_TEXT, END_OF_TEXT, END_OF_TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"
_CONTROL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, PADDING, "<|start_header_id|>", "<|end_header_id|>", END_OF_TURN)

# Llama 3's words are runs of letters; here marks belong to them, since vowel signs would cut every Hindi word apart.
# Line ends stand alone, so that a text is encoded alike inside and outside of a chat template.
_WORDS = Regex(r"\n+|[^\S\n]?[\p{L}\p{M}]+|\p{N}{1,3}|[^\S\n]?[^\s\p{L}\p{M}\p{N}]+|[^\S\n]+")
_CHAT_TEMPLATE = Path(__file__).parents[1] / "templates" / "llama3.jinja"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, longest_prompt: int) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `vocabulary_size` entries; every text can be encoded, since the alphabet is bytes.

    Args:
        texts: what to learn merges from.
        vocabulary_size: 256 bytes, the control tokens, and merges.
        longest_prompt: the model's number of positions.
    """
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(_WORDS, behavior="isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A",
        pair=f"{BEGIN_OF_TEXT} $A {BEGIN_OF_TEXT} $B",
        special_tokens=[(BEGIN_OF_TEXT, tokenizer.token_to_id(BEGIN_OF_TEXT))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        chat_template=_CHAT_TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=longest_prompt,
        clean_up_tokenization_spaces=False,
    )
