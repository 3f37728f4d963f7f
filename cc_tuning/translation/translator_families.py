"""The families of translation models: how a language is called, and how text becomes token ids and back.

NLLB and M2M100 share an architecture and differ in their tokenizers. Both put the source language's token before the
text and want the target language's token as the first of the answer; engines see token ids only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import M2M100Tokenizer, NllbTokenizer

from cc_tuning.errors import TranslationFailed
from cc_tuning.text.languages import Language


class Family(ABC):
    """A tokenizer whose languages are those of `languages.csv`."""

    name: ClassVar[str]
    tokenizer_class: ClassVar[type]
    tokenizer_files: ClassVar[tuple[tuple[str, ...], ...]]
    """Groups of files, of each of which one file is enough."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.begin_token_id: int = tokenizer.bos_token_id
        self.end_token_id: int = tokenizer.eos_token_id
        self.unknown_token_id: int = tokenizer.unk_token_id
        self.padding_id: int = tokenizer.pad_token_id

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of token ids, those of the languages included."""

    @abstractmethod
    def code(self, language: Language) -> str:
        """The family's code for a language; empty where the table has no code for it."""

    @abstractmethod
    def knows(self, language: Language) -> bool:
        """Whether there is a token for this language."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """The text of an answer, without control tokens, its white space made single spaces."""

    def language_token_id(self, language: Language) -> int:
        """The token that stands for a language.

        Raises:
            TranslationFailed: there is none.
        """
        token_id: int = self._tokenizer.convert_tokens_to_ids(self._token(language))
        return token_id

    def encode(self, texts: Sequence[str], source: Language) -> list[list[int]]:
        """The ids of texts of one language, with its token before and the end token after each.

        Raises:
            TranslationFailed: there is no token for the language.
        """
        self._token(source)
        # The language is state of the tokenizer: set before each call.
        self._tokenizer.src_lang = self.code(source)
        return self._encoded(texts, add_special_tokens=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without language and end tokens."""
        return [len(ids) for ids in self._encoded(texts, add_special_tokens=False)]

    def _token(self, language: Language) -> str:
        if not self.knows(language):
            raise TranslationFailed(
                f"the translator ({self.name}) has no token for {language.flores_code} ({language.name}); such rows "
                "must not reach it"
            )
        return self.code(language)

    def _encoded(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        if not texts:
            return []
        # Without `split_special_tokens` a "</s>" or "eng_Latn" that a user typed would become the control token.
        encoded = self._tokenizer(list(texts), add_special_tokens=add_special_tokens, split_special_tokens=True)
        ids: list[list[int]] = encoded["input_ids"]
        return ids


class Nllb(Family):
    """NLLB-200: FLORES-200 codes, which are tokens themselves."""

    name = "NLLB"
    tokenizer_class = NllbTokenizer
    tokenizer_files = (("tokenizer.json", "sentencepiece.bpe.model"),)

    @property
    def size(self) -> int:
        return len(self._tokenizer)

    def code(self, language: Language) -> str:
        return language.flores_code

    def knows(self, language: Language) -> bool:
        return bool(self._tokenizer.convert_tokens_to_ids(language.flores_code) != self._tokenizer.unk_token_id)

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(self._tokenizer.decode(list(ids), skip_special_tokens=True).split())


class M2M100(Family):
    """M2M100 (and WMT21, its successor for eight languages): its own codes, as in `__es__`.

    The table has one code for all kinds of Arabic and one for both scripts of Chinese: M2M100 does not tell them apart,
    and what it writes is standard Arabic and mostly simplified Chinese.
    """

    name = "M2M100"
    tokenizer_class = M2M100Tokenizer
    tokenizer_files = (("vocab.json",), ("sentencepiece.bpe.model",))

    @property
    def size(self) -> int:
        # Language tokens come after the vocabulary file's; `len(tokenizer)` counts them only where they are declared.
        return len(self._tokenizer.encoder) + len(self._tokenizer.lang_code_to_id)

    def code(self, language: Language) -> str:
        return language.m2m100_code

    def knows(self, language: Language) -> bool:
        return language.m2m100_code in self._tokenizer.lang_code_to_id

    def language_token_id(self, language: Language) -> int:
        token_id: int = self._tokenizer.get_lang_id(self._token(language))
        return token_id

    def text(self, ids: Sequence[int]) -> str:
        # Language tokens and the unused ids after them are control tokens, whether or not they are declared as such.
        spoken = [token_id for token_id in ids if token_id < self._tokenizer.vocab_size]
        text = self._tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return " ".join(text.split())


FAMILIES: tuple[type[Family], ...] = (Nllb, M2M100)
