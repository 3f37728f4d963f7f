"""How likely held-out pairs' own responses are through a map, which is what the map is for.

    nll = −(1/n) Σ_t ln p(y_t | x, y_<t)      nats a token, of the n tokens of a response

as evaluation measures it for gold answers, by the same passes; a map's gain is the nll with the connection off less
that through the map. English texts that several pairs share make their responses alike, so the standard error of a
mean is that of clusters of them (Liang and Zeger 1986, with C / (C − 1) for few clusters).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.inference.loglikelihoods import score_continuations
from cc_tuning.inference.prompts import Prompt, longest_first
from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.model.transform_matrix import MEAN_LANGUAGE, TransformMatrix
from cc_tuning.transform.activations import SampledPair


class ResponseLikelihoods:
    """The likelihoods of held-out responses through maps of one model; those with the connection off are kept."""

    def __init__(self, model: CrossLingualModel, held_out: Sequence[SampledPair], batch_size: int) -> None:
        """Pairs without `response_ids` are left out and counted in `unscored`.

        Raises:
            TransformFailed: fewer than two English texts are left, of which no standard error can be made.
        """
        self._model, self._batch_size = model, batch_size
        self._pairs = [pair for pair in held_out if pair.response_ids]
        self.unscored = len(held_out) - len(self._pairs)
        texts = [tuple(pair.english_input_ids) for pair in self._pairs]
        self._clusters = [list(dict.fromkeys(texts)).index(text) for text in texts]
        if len(set(texts)) < 2:
            raise TransformFailed(
                f"no map can be chosen: {len(set(texts))} English texts among {len(held_out)} held-out "
                f"pairs, {self.unscored} of which have a blank response or one that does not fit the model's context; "
                "at least two are needed. Raise `transform.held_out_fraction` or `transform.pairs`"
            )
        self._off = self._nll("off", [""] * len(self._pairs))

    @property
    def scored(self) -> int:
        """How many pairs the figures are of."""
        return len(self._pairs)

    def gains(self, transform: TransformMatrix) -> Tensor:
        """What each response gains through the map, `[N]` float64; a language without an intercept gets their mean."""
        codes = [pair.flores_code for pair in self._pairs]
        if transform.languages:
            codes = [code if code in transform.languages else MEAN_LANGUAGE for code in codes]
        self._model.set_transform(transform)
        return self._off - self._nll("transform", codes)

    def gains_of_english(self) -> Tensor:
        """What each response gains through the real English prompt, `[N]` float64."""
        return self._off - self._nll("parallel", [""] * len(self._pairs))

    def error(self, values: Tensor) -> float:
        """The standard error of the mean of `values [N]`, pairs with one English text being one cluster."""
        return clustered_error(values, self._clusters)

    def _nll(self, mode: ConnectionMode, codes: Sequence[str]) -> Tensor:
        found = torch.zeros(len(self._pairs), dtype=torch.float64)
        lengths = [len(pair.input_ids) + len(pair.response_ids) for pair in self._pairs]
        for places in longest_first(lengths, self._batch_size):
            pairs = [self._pairs[place] for place in places]
            prompts = [
                Prompt(pair.pair_id, pair.input_ids, pair.english_input_ids, language=codes[place])
                for place, pair in zip(places, pairs, strict=True)
            ]
            scores = score_continuations(self._model, prompts, [pair.response_ids for pair in pairs], mode)
            for place, score in zip(places, scores, strict=True):
                found[place] = -score.log_likelihood / score.tokens
        return found


def clustered_error(values: Tensor, clusters: Sequence[int]) -> float:
    """The standard error of the mean of `values [N]` float64; `clusters` are numbers from 0, two different at least."""
    count = max(clusters) + 1
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, torch.tensor(clusters), values - values.mean())
    return math.sqrt(count / (count - 1) * float(sums.square().sum())) / len(values)
