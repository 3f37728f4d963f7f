"""The record of a finished artifact: what went in, what came out, how it was made. Written last."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RowCounts(BaseModel):
    """The number of rows that a stage read and what became of each; the parts add up to the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: int = Field(ge=0, description="Rows that came in.")
    kept: int = Field(ge=0, description="Rows that went on.")
    quarantined: dict[str, int] = Field(default_factory=dict, description="Rows set aside, by the rule they broke.")
    not_selected: int = Field(default=0, ge=0, description="Sound rows that the recipe did not ask for.")

    @model_validator(mode="after")
    def _add_up(self) -> "RowCounts":
        total = self.kept + sum(self.quarantined.values()) + self.not_selected
        if total != self.read:
            raise ValueError(
                f"row counts do not add up: read {self.read}, but kept {self.kept} + quarantined "
                f"{self.quarantined} + not selected {self.not_selected} = {total}"
            )
        return self

    def __str__(self) -> str:
        parts = [f"read {self.read:,}", f"kept {self.kept:,}"]
        if self.not_selected:
            parts.append(f"not selected {self.not_selected:,}")
        parts += [f"{rule} {count:,}" for rule, count in sorted(self.quarantined.items())]
        return ", ".join(parts)


class FileRecord(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Relative to the artifact's folder, with forward slashes.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str


class DeviceUse(BaseModel):
    """What a stage's GPUs did while it ran, as NVML tells it of whole cards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: list[str] = Field(description="Of the cards, in their order.")
    held_seconds: float = Field(ge=0, description="Seconds of the stage, times cards.")
    busy_seconds: float = Field(ge=0, description="Of these, seconds in which a kernel ran, read once a second.")
    joules: float | None = Field(description="Energy that the cards took; null where a card does not say it.")


class Manifest(BaseModel):
    """Everything known about one finished artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    version: int
    fingerprint: str
    label: str = Field(description="For people: the stage, and the run it belongs to.")
    config: dict[str, Any] = Field(description="The identity config that was hashed.")
    inputs: dict[str, dict[str, str]] = Field(
        description="Each input's identity; for an artifact also the sha256 of its manifest when it was read."
    )
    files: list[FileRecord]
    rows: RowCounts
    commit: str = Field(description="The source commit, or 'unknown' outside a checkout.")
    versions: dict[str, str] = Field(description="Library versions.")
    seconds: float = Field(
        ge=0, description="Wall-clock of the run that finished it; a resumed run counts its own part."
    )
    peak_memory_bytes: int = Field(ge=0, description="High-water mark of the process that ran the stage.")
    cpu_seconds: float | None = Field(
        default=None, description="User and system time of the process and its children; null in earlier versions."
    )
    gpu: DeviceUse | None = Field(default=None, description="Null without a GPU or without NVML.")
    finished_at: str = Field(description="UTC, ISO 8601.")
    digest: str = Field(
        default="", description="sha256 of the manifest's text without this line; empty in those of earlier versions."
    )
