"""Sampled activations on disk, so that prompts are run once and their rows are read as often as is useful.

They wait in the artifact's folder, in the model's dtype (1,000 pairs of an 8B model: 0.5 GB), and are read in the order
they came, all layers at once or a few of them. So a fit needs memory for its moments only, whatever it is fitted on. A
layer's rows of a batch lie together in its file, since the fits of many pairs read layer by layer.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cc_tuning.runtime.progress import Progress
from cc_tuning.transform.activations import ActivationBatch

FIT, HELD_OUT = "fit", "held_out"


class ActivationSpool:
    """Batches of activations by split, `fit` and `held_out`."""

    def __init__(self, folder: Path, layers: int, hidden_size: int, device: torch.device) -> None:
        """A spool in `folder`, which is made and removed by it; rows are read back to `device`."""
        self._folder = folder
        self.layers = layers
        self.hidden_size = hidden_size
        self.device = device
        self.pairs = {FIT: 0, HELD_OUT: 0}
        self.fitted_languages: tuple[str, ...] = ()
        """FLORES codes of the fitted pairs, in the order of intercepts; whoever fills the spool sets them."""
        self.chosen_layers: tuple[int, ...] = tuple(range(layers))
        """The layers that the Decision Maker chose for a fitted pair, rising; whoever fills the spool sets them."""

    def fill(self, split: str, batches: Iterator[ActivationBatch], total: int, progress: Progress) -> None:
        """Write all `batches`; `total` is the number of pairs of both splits."""
        folder = self._folder / split
        folder.mkdir(parents=True)
        for number, batch in enumerate(batches):
            tensors = {
                "activations": batch.activations.transpose(0, 1).contiguous(),
                "english_activations": batch.english_activations.transpose(0, 1).contiguous(),
                "places": batch.places,
            }
            if batch.pooled is not None:
                tensors["pooled"] = batch.pooled.transpose(0, 1).contiguous()
            save_file(tensors, folder / f"{number:06d}.safetensors")
            self.pairs[split] += len(batch.places)
            progress(sum(self.pairs.values()), total, "pairs")

    def batches(self, split: str, layers: slice = slice(None), pairs: range | None = None) -> Iterator[ActivationBatch]:
        """The rows of a split, batch by batch: of the layers asked for, and of the pairs whose place is in `pairs`."""
        for path in self._paths(split):
            with safe_open(path, "pt", device=str(self.device)) as file:
                places = file.get_tensor("places")
                names = ("activations", "english_activations")
                own, english = (file.get_slice(name)[layers].transpose(0, 1) for name in names)
                has_pooled = layers == slice(None) and "pooled" in file.keys()  # noqa: SIM118, it is no mapping
                pooled = file.get_tensor("pooled").transpose(0, 1) if has_pooled else None
            if pairs is not None:
                asked = (places >= pairs.start) & (places < pairs.stop)
                own, english, places = own[asked], english[asked], places[asked]
                pooled = None if pooled is None else pooled[asked]
            if len(places):
                yield ActivationBatch(own, english, places, pooled)

    def layers_of(self, name: str) -> int:
        """How many layers `activations`, `english_activations` or `pooled` has."""
        return self.layers - (name == "pooled")

    def column(
        self,
        split: str,
        name: str,
        layer: int,
        places: range | None = None,
        dtype: torch.dtype = torch.float64,
        out: Tensor | None = None,
    ) -> Tensor:
        """One layer of `activations`, `english_activations` or `pooled` of all pairs of a split, or of those at
        `places`, in the order in which the pairs were given: `[N, D]` in `dtype`, or written to `out` in its own.
        """
        places = range(self.pairs[split]) if places is None else places
        rows = torch.empty(len(places), self.hidden_size, dtype=dtype, device=self.device) if out is None else out
        for path in self._paths(split):
            with safe_open(path, "pt", device=str(self.device)) as file:
                at = file.get_tensor("places")
                asked = ((at >= places.start) & (at < places.stop)).nonzero().flatten()
                if len(asked):
                    rows[at[asked] - places.start] = file.get_slice(name)[layer][asked].to(rows)
        return rows

    def dtype_of(self, split: str, name: str) -> torch.dtype:
        """What the rows were read in."""
        with safe_open(self._paths(split)[0], "pt") as file:
            return file.get_slice(name)[:0].dtype

    def _paths(self, split: str) -> list[Path]:
        return sorted((self._folder / split).glob("*.safetensors"))

    def target_layers(self, targets: str) -> Sequence[int]:
        """The layers that are predicted of English activations: `all`, or those `chosen`."""
        return range(self.layers) if targets == "all" else self.chosen_layers

    def parts(self, matrix: str) -> Sequence[slice]:
        """The layers that are fitted together: all of them, or each by itself (`per_layer`)."""
        if matrix == "shared":
            return [slice(0, self.layers)]
        return [slice(layer, layer + 1) for layer in range(self.layers)]

    def remove(self) -> None:
        """Delete the rows."""
        shutil.rmtree(self._folder)
