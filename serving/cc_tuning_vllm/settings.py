"""What the section `cc_tuning` of an exported `config.json` says about the connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

FORMAT = 1
SECTION = "cc_tuning"
_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "selector": ("decision_maker", "mean", "random"),
        "source": ("ffn", "attention", "block"),
        "site": ("contribution", "block_output"),
        "normalise": ("none", "centred", "standardised"),
        "features": ("layer", "all_layers"),
    }
)


@dataclass(frozen=True)
class ConnectionSettings:
    """The connection apart from its tensors (Ye et al. 2025, section 3.2)."""

    selector: Literal["decision_maker", "mean", "random"]
    """How the layer is chosen that is carried over."""
    source: Literal["ffn", "attention", "block"]
    """Which activation of a layer is read."""
    site: Literal["contribution", "block_output"]
    """Whether it is read, and `v` added, behind or before a norm between a block and the residual."""
    normalise: Literal["none", "centred", "standardised"]
    features: Literal["layer", "all_layers"]
    """What the map reads."""
    scale: float | None
    """Length of `v` as a share of that of `f_1`; None: as long as the activation that it is."""
    offset: int
    """Tokens between t* and the last prompt token."""
    seed: int
    """Of the selector `random`."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the map's parts: `matrix`, and `intercept` and `output` where it has them."""

    @classmethod
    def read_from(cls, config: Any) -> Self:
        """The settings in a model's configuration, an object with the section as the attribute `cc_tuning`.

        Raises:
            ValueError: there is no section, it is of another format, or it says what this version does not know.
        """
        section = getattr(config, SECTION, None)
        if not isinstance(section, Mapping):
            raise ValueError(
                f"config.json names an architecture of CC-Tuning and has no section {SECTION!r}; write the directory "
                "with `cc-tuning export CHECKPOINT DIR`"
            )
        if section.get("format") != FORMAT:
            raise ValueError(
                f"the section {SECTION!r} of config.json has format {section.get('format')!r}, this plugin reads "
                f"{FORMAT}; take plugin and export from the same version of the project"
            )
        for name, known in _CHOICES.items():
            if section.get(name) not in known:
                raise ValueError(
                    f"{SECTION}.{name} in config.json is {section.get(name)!r}, this plugin knows {', '.join(known)}; "
                    "take plugin and export from the same version of the project"
                )
        shapes = {name: tuple(shape) for name, shape in section["shapes"].items()}
        names = (*_CHOICES, "scale", "offset", "seed")
        return cls(**{name: section[name] for name in names}, shapes=MappingProxyType(shapes))
