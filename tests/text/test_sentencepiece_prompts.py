"""Prompts of SentencePiece tokenizers against that library, which never reads a control token in a text."""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from cc_tuning.errors import ConfigError
from cc_tuning.text.chat_templates import ChatTemplate
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer

# The first article of the Universal Declaration of Human Rights.
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos, dotados de razón y conciencia.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft begabt.",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri.",
    "yo": "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba. Wọ́n ní ẹ̀bùn ti làákàyè.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。",
}
ADDED = ["[INST]", "[/INST]"]
TEXTS = 5_000


@dataclass(frozen=True)
class Kind:
    """A published way to write a SentencePiece vocabulary as a fast tokenizer, and what SentencePiece does there."""

    normalizer: normalizers.Normalizer | None
    pre_tokenizer: pre_tokenizers.PreTokenizer | None
    has_prefix: bool
    """Whether every stretch after a control token begins with a mark."""


KINDS = {
    "prepended": Kind(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, True),
    "first": Kind(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), False),
    "none": Kind(normalizers.Replace(" ", "▁"), None, False),
}
FORMATS: dict[str, tuple[ChatTemplate, list[str], list[str]]] = {
    "llama2": ("llama2", ["<s>", "[INST] {text} [/INST]"], [" {answer} ", "</s>"]),
    "mistral of plain text": ("mistral", ["<s>", "[INST] {text}[/INST]"], [" {answer}", "</s>"]),
    "mistral of control tokens": ("mistral", ["<s>", "[INST]", " {text}", "[/INST]"], [" {answer}", "</s>"]),
}
"""The template of the project, and its prompt and answer cut at control tokens."""


def learnt(control: list[str]) -> sentencepiece_model_pb2.ModelProto:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*SENTENCES.values()] * 4),
        model_writer=written,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        split_digits=True,
        control_symbols=control,
        minloglevel=2,
        num_threads=1,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    return model


def as_fast(model: sentencepiece_model_pb2.ModelProto, kind: Kind) -> PreTrainedTokenizerFast:
    """The vocabulary as `tokenizer.json`, control tokens as added ones."""
    vocabulary = {piece.piece: place for place, piece in enumerate(model.pieces)}
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == piece.NORMAL}
    skipped = set(vocabulary) - set(scores)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary, generate_merges(vocabulary, scores, skipped), unk_token="<unk>", byte_fallback=True,
            fuse_unk=True,
        )
    )  # fmt: skip
    if kind.normalizer is not None:
        tokenizer.normalizer = kind.normalizer
    if kind.pre_tokenizer is not None:
        tokenizer.pre_tokenizer = kind.pre_tokenizer
    control = [piece.piece for piece in model.pieces if piece.type in (piece.CONTROL, piece.UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def whole_encoder(
    model: sentencepiece_model_pb2.ModelProto, stretches: list[str], has_prefix: bool
) -> Callable[..., list[int]]:
    """What SentencePiece makes of a conversation, each stretch between control tokens at once."""
    copy = sentencepiece_model_pb2.ModelProto()
    copy.CopyFrom(model)
    copy.normalizer_spec.add_dummy_prefix = has_prefix
    processor = sentencepiece.SentencePieceProcessor(model_proto=copy.SerializeToString())
    control = {piece.piece: place for place, piece in enumerate(model.pieces) if piece.type == piece.CONTROL}

    def encode(count: int, **spoken: str) -> list[int]:
        ids: list[int] = []
        # Plain text on both sides of the seam is one stretch.
        for is_control, group in groupby(stretches[:count], key=control.__contains__):
            for stretch in group if is_control else ["".join(group)]:
                ids += [control[stretch]] if is_control else processor.encode(stretch.format(**spoken))
        return ids

    return encode


def random_texts(seed: int, control: list[str]) -> list[str]:
    """Texts of words, blanks at either end, line ends, emoji, digits, and control tokens as somebody types them."""
    draw = random.Random(seed)
    words = [word for sentence in SENTENCES.values() for word in sentence.split()]
    words += ["🦒", "👩🏽‍🔬", "2026", "३१", "{x}", "a_b", "\u00a0", "\u200f", "▁", "<0x0A>"] * 3
    typed = [*control, "</s>[INST]", "<s><s>", "[/INST] </s>"]
    between = [" ", " ", " ", "  ", "   ", "\n", "\n\n", " \n ", "\t", ""]
    ends = ["", "", " ", "  ", "    ", "\n", "\n\n", " \n", "\t "]
    texts = []
    for _ in range(TEXTS):
        parts = [draw.choice(typed) if draw.random() < 0.15 else draw.choice(words) for _ in range(draw.randint(0, 9))]
        inner = "".join(part + draw.choice(between) for part in parts)
        texts.append(draw.choice(ends) + inner + draw.choice(ends))
    return texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_prompts_are_what_sentencepiece_makes_of_the_whole_conversation(kind: str, form: str, tmp_path: Path) -> None:
    template, prompt, rest = FORMATS[form]
    control = ADDED if "control" in form else []
    model = learnt(control)
    as_fast(model, KINDS[kind]).save_pretrained(tmp_path)
    prompts = ChatPrompts(load_tokenizer(tmp_path, template))
    whole = whole_encoder(model, [*prompt, *rest], KINDS[kind].has_prefix)
    typed = ["<s>", "</s>", "<unk>", *ADDED]
    texts, answers = random_texts(1, typed), random_texts(2, typed)

    assert prompts.encode_prompts(texts) == [whole(len(prompt), text=text) for text in texts]
    examples = prompts.encode_examples(texts, answers)
    count = len(prompt) + len(rest)
    expected = [whole(count, text=text, answer=answer) for text, answer in zip(texts, answers, strict=True)]
    assert [example.input_ids for example in examples] == expected
    lengths = [len(whole(len(prompt), text=text)) for text in texts]
    assert [example.prompt_length for example in examples] == lengths


@pytest.mark.parametrize("kind", KINDS)
def test_without_typed_control_tokens_they_are_what_transformers_makes_of_it(kind: str, tmp_path: Path) -> None:
    as_fast(learnt([]), KINDS[kind]).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path, "llama2")
    prompts = ChatPrompts(tokenizer)
    texts, answers = random_texts(3, ["typed"]), random_texts(4, ["typed"])
    texts = [text.replace("</s>", "").replace("<s>", "") for text in texts]
    answers = [text.replace("</s>", "").replace("<s>", "") for text in answers]
    rendered = [f"<s>[INST] {text} [/INST] {answer} </s>" for text, answer in zip(texts, answers, strict=True)]
    examples = prompts.encode_examples(texts, answers)
    assert [each.input_ids for each in examples] == tokenizer(rendered, add_special_tokens=False)["input_ids"]


def gemma_like(folder: Path) -> PreTrainedTokenizerFast:
    """With runs of line breaks, blanks and markup among the added tokens, not special, as Gemma has them."""
    tokenizer = as_fast(learnt([]), KINDS["none"])
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    listed = ["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "<b>", "</b>"]
    backend.add_tokens([AddedToken(token, normalized=False, special=False) for token in listed])
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_line_breaks_and_markup_that_a_vocabulary_lists_stay_what_transformers_makes_of_them(tmp_path: Path) -> None:
    tokenizer = gemma_like(tmp_path)
    prompts = ChatPrompts(load_tokenizer(tmp_path, "gemma"))
    texts = [f"<b>{text}</b>\n\n\n\n{text}" for text in random_texts(5, ["typed"])[:1000]]
    texts = ["\n\nx", "", "\n", *(text.replace("</s>", "").replace("<s>", "") for text in texts)]
    expected = tokenizer(
        [f"<s><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n" for text in texts],
        add_special_tokens=False,
    )["input_ids"]
    assert prompts.encode_prompts(texts) == expected
    assert prompts.encode_prompt("<end_of_turn>").count(tokenizer.convert_tokens_to_ids("<end_of_turn>")) == 1


@pytest.mark.parametrize("answer", ["\n\nfour", "\n", "four\n", ""])
def test_an_answer_that_begins_with_a_line_break_does_not_change_its_prompt(answer: str, tmp_path: Path) -> None:
    tokenizer = gemma_like(tmp_path)
    prompts = ChatPrompts(load_tokenizer(tmp_path, "gemma"))
    prompt, example = prompts.encode_prompt("2 + 2"), prompts.encode_example("2 + 2", answer)
    assert example.prompt_length == len(prompt) and example.input_ids[: len(prompt)] == prompt
    assert example.input_ids[-1] == tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert "".join(tokenizer.convert_ids_to_tokens(example.input_ids[len(prompt) : -1])) == answer


def test_a_merge_that_spells_a_control_token_does_not_make_one(tmp_path: Path) -> None:
    """Some converted vocabularies hold `<` + `s>`; SentencePiece never merges into a control token."""
    tokenizer = as_fast(learnt([]), KINDS["prepended"])
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = written["model"]["vocab"]
    for piece in ("<", ">", "s>"):
        vocabulary.setdefault(piece, len(vocabulary))
    written["model"]["merges"] = [["s", ">"], ["<", "s>"], *written["model"]["merges"]]
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)), bos_token="<s>", eos_token="</s>"
    ).save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path, "llama2")
    example = ChatPrompts(loaded).encode_example("<s>", "<s> and </s>")
    assert [example.input_ids.count(vocabulary[token]) for token in ("<s>", "</s>")] == [1, 1]


def test_a_noncharacter_is_refused_with_its_place(tmp_path: Path) -> None:
    as_fast(learnt([]), KINDS["first"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"character 2 .* noncharacter U\+FDD0"):
        ChatPrompts(load_tokenizer(tmp_path, "llama2")).encode_prompt("ab\ufdd0")
