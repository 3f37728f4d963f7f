"""Overlap of a summary with its reference: ROUGE-L for every script, and chrF++.

The stock tokenizer of `rouge_score` keeps ASCII letters and digits only, so a Hindi or Chinese summary compared with
itself scores 0. The paper's Hindi figures near 1 show that it was used. Both figures are reported and never mixed:

- `rougeL_ascii`: the stock tokenizer, comparable with the paper;
- `rougeL`: the words ICU finds in the NFKC, lower-cased text, with dictionaries for Chinese, Japanese, Thai, Khmer, Lao
  and Burmese; punctuation and blanks are not words.

chrF++ (Popović 2017) is sacrebleu's, with characters up to six and words up to two in a row, per item and without
smoothing. It needs no words in most of its weight, so it is the steadiest of the three across scripts.
"""

from collections.abc import Sequence
from functools import cache

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from sacrebleu.metrics.chrf import CHRF

from cc_tuning.evaluation.scorers import normalised
from cc_tuning.text.icu import words


class IcuWords(Tokenizer):
    """The words of a text in any script."""

    def tokenize(self, text: str) -> list[str]:
        """Words in order; a text of punctuation only has none."""
        return words(normalised(text).lower())


def rouge_l(response: str, references: Sequence[str]) -> float:
    """ROUGE-L F1 over ICU words, 0 to 100, against the best of `references`."""
    return _best(_icu_scorer(), response, references)


def rouge_l_ascii(response: str, references: Sequence[str]) -> float:
    """ROUGE-L F1 with the stock tokenizer (ASCII letters and digits only), 0 to 100."""
    return _best(_ascii_scorer(), response, references)


def chrf(response: str, references: Sequence[str]) -> float:
    """chrF++ of sacrebleu, 0 to 100, against the best of `references`."""
    return float(_chrf_scorer().sentence_score(response, list(references)).score)


def _best(scorer: RougeScorer, response: str, references: Sequence[str]) -> float:
    return 100.0 * max(float(scorer.score(reference, response)["rougeL"].fmeasure) for reference in references)


@cache
def _icu_scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=IcuWords())


@cache
def _ascii_scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=DefaultTokenizer(use_stemmer=False))


@cache
def _chrf_scorer() -> CHRF:
    return CHRF(word_order=2)
