"""How runs were made, as the manifests of their artifacts tell: which differ in one setting only, which read the same
rows. Nothing is read out of a run's name or out of the recipe, which another run's keys may have been laid over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cc_tuning.report.config import Family
from cc_tuning.report.evidence import StageRecord
from data_contracts.manifest import Manifest

AblatedSetting = Literal["selector", "source"]
_ALTERNATIVES: Mapping[AblatedSetting, Mapping[str, str]] = {
    "selector": {"decision_maker": "Decision Maker", "mean": "mean of layers", "random": "random layer"},
    "source": {"ffn": "feed-forward", "attention": "attention", "block": "whole layer"},
}
"""By the paper's choice first, what else the connection can be made with (Ye et al. 2025, Figures 3 and 4)."""


@dataclass(frozen=True)
class Ablation:
    """Families that were trained alike but for one setting of the connection."""

    setting: AblatedSetting
    families: Mapping[str, Family]
    """By the value of the setting, the paper's first."""
    fixed: str
    """What the other setting is in all of them, in words."""

    def label(self, value: str) -> str:
        """The setting's value in words."""
        return _ALTERNATIVES[self.setting].get(value, value)


def manifest_of(stages: Sequence[StageRecord], stage: str, run: str) -> Manifest | None:
    """The manifest of a stage that belongs to one run; None where it is not known."""
    found = (record.manifest for record in stages if record.manifest.stage == stage and run in record.runs)
    return next(found, None)


def is_connected(stages: Sequence[StageRecord], family: Family) -> bool | None:
    """Whether a family was trained with a connection; None where its training is not known."""
    manifest = manifest_of(stages, "train", family.runs[0].name)
    return bool(manifest.config.get("connection")) if manifest else None


def differ_in_connection_only(stages: Sequence[StageRecord], one: Family, other: Family) -> bool:
    """Whether two families were trained on the same rows in the same way, whatever their connections."""
    manifests = [manifest_of(stages, "train", family.runs[0].name) for family in (one, other)]
    alike = [_but_for(manifest, ["connection"]) for manifest in manifests if manifest is not None]
    return len(alike) == 2 and alike[0] == alike[1]


def ablations(stages: Sequence[StageRecord], families: Sequence[Family]) -> Iterator[Ablation]:
    """Every group of the `families` that differ in the connection's selector or source alone."""
    both: tuple[tuple[AblatedSetting, AblatedSetting], ...] = (("selector", "source"), ("source", "selector"))
    for setting, other in both:
        groups: dict[str, dict[str, Family]] = {}
        fixed: dict[str, str] = {}
        for family in families:
            manifest = manifest_of(stages, "train", family.runs[0].name)
            connection = manifest.config.get("connection") if manifest else None
            if manifest is not None and connection:
                key = _but_for(manifest, ["connection", setting])
                groups.setdefault(key, {}).setdefault(connection[setting], family)
                fixed[key] = _ALTERNATIVES[other].get(connection[other], connection[other])
        for key, group in groups.items():
            if len(group) > 1:
                yield Ablation(setting, _paper_first(setting, group), fixed[key])


def _but_for(manifest: Manifest, path: Sequence[str]) -> str:
    """All that decides a training but the setting at `path`, the seed, and the rate of a Decision Maker."""
    config: dict[str, Any] = json.loads(json.dumps(manifest.config))
    *sections, name = path
    section = config
    for at in sections:
        section = section[at]
    section.pop(name, None)
    for other in ("seed", "decision_maker_learning_rate"):
        config.get("training", {}).pop(other, None)
    return json.dumps([config, manifest.inputs], sort_keys=True)


def _paper_first(setting: AblatedSetting, families: Mapping[str, Family]) -> Mapping[str, Family]:
    order = list(_ALTERNATIVES[setting])
    known = sorted(families, key=lambda value: (order.index(value) if value in order else len(order), value))
    return {value: families[value] for value in known}
