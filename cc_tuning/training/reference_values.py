"""What a reference model says of preference rows, as training reads it from the artifact of the stage `reference`.

The values are of one model and one file of rows, and its summary names both by their contents; training with another
model or other rows is refused before a step is made. Rows and values are joined by `row_id`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, sha256_of_file
from data_contracts.fingerprint import canonical_json
from data_contracts.layout import REFERENCE_SUMMARY, REFERENCE_VALUES
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ReferenceRow

VALUES = ("chosen", "rejected", "english_chosen", "english_rejected")
"""Columns of the four sequences of a row, in their order in a batch."""


def read_reference(folder: Path) -> Mapping[str, Sequence[float]]:
    """The log-probabilities of the four sequences of each row, in nats, by `row_id`.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
    """
    rows = read_parquet(folder / REFERENCE_VALUES, ReferenceRow)
    return dict(zip(rows["row_id"].to_list(), rows.select(VALUES).iter_rows(), strict=True))


def reference_summary(rows: Path, model: Location) -> dict[str, str]:
    """What the values are of: the sha256 of the rows' file, and the model by its contents or its pinned revision."""
    return {"rows_sha256": sha256_of_file(rows), "model": identity_of_model(model)}


def identity_of_model(model: Location) -> str:
    """`owner/name@revision` of a hub model; of a directory the sha256 of its description and weights."""
    if not model.is_local:
        return f"{model.name}@{model.revision}"
    files = [model.path / "config.json", *sorted(model.path.glob("*.safetensors"))]
    listing = {file.name: sha256_of_file(file) for file in files if file.is_file()}
    return hashlib.sha256(canonical_json(listing).encode("utf-8")).hexdigest()


def check_reference(folder: Path, rows: Path, model: Location) -> None:
    """Refuse values that are not of these rows and this model.

    Raises:
        ConfigError: they are of other rows or of another model.
        ArtifactMismatch: the summary is missing or damaged.
    """
    recorded, expected = read_json(folder / REFERENCE_SUMMARY), reference_summary(rows, model)
    for name, what in (("rows_sha256", f"the rows of {rows}"), ("model", f"the model {model.name}")):
        if name not in recorded:
            raise ArtifactMismatch(f"{folder / REFERENCE_SUMMARY} lacks {name!r}; run the stage `reference` again")
        if recorded[name] != expected[name]:
            raise ConfigError(
                f"the reference values in {folder} are not of {what}: they are of {recorded[name]}, expected "
                f"{expected[name]}; run the stage `reference` on these rows with the model that training starts from"
            )
