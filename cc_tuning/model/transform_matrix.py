"""The map from a prompt's own activations to English ones, in each of the forms it can be fitted in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from cc_tuning.errors import ConfigError, UnsupportedModel

TRANSFORM_KEY = "transform_matrix"
INTERCEPT_KEY = "transform_intercept"
OUTPUT_KEY = "transform_output"
FORM_KEY = "transform_form"
_KEYS = {"matrix": TRANSFORM_KEY, "intercept": INTERCEPT_KEY, "output": OUTPUT_KEY}

Features = Literal["layer", "all_layers", "pooled"]
"""What English activations are predicted from: the prompt's own activation in the same layer, those of all layers, or
the mean over its tokens up to t* of the outputs of all decoder layers but the last."""
ENGLISH = "eng_Latn"
MEAN_LANGUAGE = "mean"
"""In the place of a FLORES code: the mean of the languages' intercepts."""


@dataclass(frozen=True)
class TransformMatrix:
    """The map in one of these forms, `F [L, D]` being a prompt's own activations and `x` its features in a row:

    | features | map | matrix | output |
    |---|---|---|---|
    | `layer` | `F_hat_l = F_l W + b` (the paper's, without b) | `W [D, D]` | |
    | `layer` | `F_hat_l = F_l W_l + b_l` | `W [L, D, D]` | |
    | `all_layers` | `F_hat = x U V + b`, x of L·D numbers | `U [L·D, r]` | `V [r, L·D]` |
    | `pooled` | `F_hat = x U V + b`, x of (L−1)·D numbers | `U [(L−1)·D, r]` | `V [r, L·D]` |

    `intercept` is `b [D]` or `[L, D]`, or None where there is none; with `languages` (FLORES codes) there is one for
    each, `[Q, D]` or `[Q, L, D]`. A factored map takes `r (P + L·D)` multiplications a prompt and as many numbers.
    """

    matrix: Tensor
    intercept: Tensor | None = None
    output: Tensor | None = None
    features: Features = "layer"
    languages: tuple[str, ...] = ()

    @classmethod
    def taken_from(cls, tensors: dict[str, Tensor]) -> Self | None:
        """The map among named tensors, which are removed from them; None when there is none.

        Raises:
            UnsupportedModel: it is of a form that this version does not know.
        """
        matrix, intercept, output = (tensors.pop(key, None) for key in _KEYS.values())
        form = tensors.pop(FORM_KEY, None)
        if matrix is None:
            return None
        return cls(matrix, intercept, output, *(("layer", ()) if form is None else _read_form(form)))

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The map as named tensors; what is not a tensor is the JSON in `transform_form`, uint8."""
        named = {key: getattr(self, name) for name, key in _KEYS.items() if getattr(self, name) is not None}
        if self.features != "layer" or self.languages:
            form = json.dumps({"features": self.features, "languages": self.languages}).encode()
            named[FORM_KEY] = torch.tensor(list(form), dtype=torch.uint8)
        return named

    @property
    def parameters(self) -> int:
        """How many numbers the map has."""
        return sum(part.numel() for part in (self.matrix, self.intercept, self.output) if part is not None)

    def multiplications(self, layers: int) -> int:
        """How many multiplications a prompt takes in a model of so many layers; a shared matrix is used in each."""
        times = layers if self.output is None and self.matrix.dim() == 2 else 1
        return times * self.matrix.numel() + (0 if self.output is None else self.output.numel())

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "TransformMatrix":
        """The same map elsewhere or in another precision."""

        def moved(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device, dtype)

        matrix = self.matrix.to(device, dtype)
        return replace(self, matrix=matrix, intercept=moved(self.intercept), output=moved(self.output))

    def check_fits(self, layers: int, hidden_size: int) -> None:
        """Refuse the map for a model of other sizes.

        Raises:
            UnsupportedModel: the shapes are not those of such a model, or values are not finite.
        """
        D, shape = hidden_size, tuple(self.matrix.shape)
        intercept, output = (None if at is None else tuple(at.shape) for at in (self.intercept, self.output))
        if self.features == "layer":
            rows = {(D, D): (D,), (layers, D, D): (layers, D)}.get(shape)
            fits = rows is not None and output is None
        else:
            rank, read = self.matrix.shape[-1], layers - (self.features == "pooled")
            rows = (layers, D)
            fits = shape == (read * D, rank) and output == (rank, layers * D)
        by_language = (len(self.languages),) if self.languages else ()
        fits = fits and ((intercept is None and not self.languages) or intercept == (*by_language, *(rows or ())))
        parts = (self.matrix, self.intercept, self.output)
        infinite = sum(int((~torch.isfinite(part)).sum()) for part in parts if part is not None)
        if infinite or not fits:
            with_intercept = f", with an intercept {intercept}," if intercept else ""
            if self.features == "layer":
                needs = f"{(D, D)}, or {(layers, D, D)} for one per layer, and an intercept of the same sizes"
            else:
                needs = f"{(read * D, 'r')} and {('r', layers * D)} for the features {self.features!r}"
            for_languages = f", for each of {len(self.languages)} languages" if self.languages else ""
            raise UnsupportedModel(
                f"the transform matrix has shape {shape}{f' and {output}' if output else ''}{with_intercept} and "
                f"{infinite} values that are not finite; this model needs {needs}{for_languages}. Fit the matrix on "
                "this checkpoint"
            )

    def apply(self, activations: Tensor, pooled: Tensor | None = None, languages: Tensor | None = None) -> Tensor:
        """`F_hat [B, L, D]` of `F [B, L, D]`, all rows and layers in one product; all in the map's dtype.

        `pooled [B, L−1, D]` is what the features of that name are; `languages [B]` int64 are what `places_of` gives.
        """
        if self.output is not None:
            read = activations if pooled is None or self.features != "pooled" else pooled
            predicted = (read.flatten(1) @ self.matrix @ self.output).view(len(read), -1, activations.shape[-1])
        elif self.matrix.dim() == 2:
            predicted = activations @ self.matrix
        else:
            predicted = torch.bmm(activations.transpose(0, 1), self.matrix).transpose(0, 1)
        if self.intercept is None:
            return predicted
        if not self.languages:
            return predicted + self.intercept
        assert languages is not None
        of_rows = self.intercept[languages.clamp(max=len(self.languages) - 1)]
        if (of_mean := languages == len(self.languages)).any():
            of_rows = of_rows.clone()
            of_rows[of_mean] = self.intercept.mean(0)
        return predicted + (of_rows[:, None] if of_rows.dim() == 2 else of_rows)

    def places_of(self, codes: Sequence[str] | None, device: torch.device) -> Tensor:
        """Places in `languages` of the rows' FLORES codes, `[B]` int64; English, which no pair has, is -1, and `mean`
        the place behind the last.

        Raises:
            ConfigError: the rows' languages are not told, or one had no pair in the fit.
        """
        known = f"intercepts for {len(self.languages)} languages ({', '.join(self.languages)})"
        if codes is None:
            raise ConfigError(
                f"this Transform Matrix has {known}, so the language of each prompt must be known: pass `languages`, "
                f"a FLORES code for each prompt or {MEAN_LANGUAGE!r} for the mean of the intercepts (`--language` of "
                "cc-tuning generate, `language=` of lm-eval), or fit with `transform.intercept: true`"
            )
        order = {code: place for place, code in enumerate(self.languages)} | {
            ENGLISH: -1,
            MEAN_LANGUAGE: len(self.languages),
        }
        if unknown := sorted({code for code in codes if code not in order}):
            raise ConfigError(
                f"this Transform Matrix has {known}; it cannot answer prompts in {', '.join(map(repr, unknown))}, "
                f"which had no pair in its fit. Take {MEAN_LANGUAGE!r} for their code, add rows in that language, or "
                "fit with `transform.intercept: true`"
            )
        return torch.tensor([order[code] for code in codes], dtype=torch.int64, device=device)


def _read_form(form: Tensor) -> tuple[Features, tuple[str, ...]]:
    try:
        read = json.loads(bytes(form.tolist()))
        if read["features"] not in get_args(Features):
            raise ValueError(f"features {read['features']!r}")
        return read["features"], tuple(read["languages"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModel(
            f"the transform matrix is of a form that this version does not know: {error}; fit it again"
        ) from error
