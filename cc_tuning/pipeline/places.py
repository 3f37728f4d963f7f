"""Where a recipe's rows, models and items come from, and what the embedded default must make for them."""

from functools import cached_property
from pathlib import Path

from cc_tuning.errors import ConfigError
from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig
from cc_tuning.miniature.shipped import shipped_model
from cc_tuning.pipeline import identities
from cc_tuning.pipeline.recipe import DEVELOPMENT, HUB, MINIATURE, Recipe, is_hub_id
from cc_tuning.runtime.sources import HubSource, LocalSource, Source
from cc_tuning.runtime.stage_table import BASE_MODEL, ITEMS, TRANSLATOR, WORLD
from cc_tuning.runtime.step import Step
from cc_tuning.selection.columns import SourceColumns
from data_contracts.layout import WORLD_DEVELOPMENT_ITEMS, WORLD_ITEMS, WORLD_ROWS

MISSING = "missing"
"""Stands for the sha256 of a local source that is not there yet."""
UNREAD = "unread"
"""Stands for the sha256 of a local source that is only looked at."""
_OF_THE_WORLD = {MINIATURE: WORLD_ITEMS, DEVELOPMENT: WORLD_DEVELOPMENT_ITEMS}
"""The embedded default's folders of items, by what they are called in a recipe."""


class LocalSources:
    """Files and folders of the user's, each hashed once.

    `may_be_missing` gives a stand-in for one that is not there yet; without `hashed` every one has a stand-in's hash.

    Raises:
        ConfigError: a source does not exist or cannot be read.
    """

    def __init__(self, may_be_missing: bool, hashed: bool = True) -> None:
        self._may_be_missing, self._hashed = may_be_missing, hashed
        self._known: dict[Path, LocalSource] = {}

    def at(self, place: str) -> LocalSource:
        """The source at the path `place`."""
        path = Path(place).expanduser()
        if path not in self._known:
            is_missing = self._may_be_missing and not path.exists()
            if is_missing or not self._hashed:
                self._known[path] = LocalSource(path.absolute(), MISSING if is_missing else UNREAD)
            else:
                self._known[path] = LocalSource.of(path)
        return self._known[path]


class Places:
    """The inputs of a recipe that no stage of the pipeline makes. A part of the embedded default is a step of its own,
    planned when it is first asked for."""

    def __init__(self, recipe: Recipe, local: LocalSources) -> None:
        self._recipe, self._local = recipe, local
        self._embedded: dict[str, Step] = {}

    @property
    def embedded(self) -> tuple[Step, ...]:
        """The steps of the embedded default that were asked for, inputs first."""
        order = [stage.name for stage in (WORLD, BASE_MODEL, TRANSLATOR)]
        return tuple(self._embedded[name] for name in order if name in self._embedded)

    @cached_property
    def rows(self) -> Source:
        """The rows to choose from."""
        data = self._recipe.data
        return self._world.ref.at(WORLD_ROWS) if data.source == MINIATURE else self._own(data.source, data.revision)

    @cached_property
    def items_step(self) -> Step | None:
        """What makes the items of published data sets; None where they are given.

        Raises:
            ConfigError: a benchmark or a language cannot be had.
        """
        return ITEMS.step(identities.items(self._recipe)) if self._recipe.evaluation.items == HUB else None

    @cached_property
    def items(self) -> Source:
        """The directory of benchmark items."""
        if self.items_step:
            return self.items_step.ref
        place = self._recipe.evaluation.items
        if place in _OF_THE_WORLD:
            return self._world.ref.at(_OF_THE_WORLD[place])
        return self._local.at(place)

    @cached_property
    def kept_out_of_rows(self) -> Source:
        """The items that no training row may repeat: those of the tests, also where development items are asked, so
        that both are asked of one and the same model."""
        is_development = self._recipe.evaluation.items == DEVELOPMENT
        return self._world.ref.at(WORLD_ITEMS) if is_development else self.items

    @cached_property
    def instructions(self) -> Source | None:
        """The directory of more items; None where none is given."""
        place = self._recipe.evaluation.instructions
        return self._local.at(place) if place else None

    @cached_property
    def base(self) -> Source:
        """The base model."""
        model = self._recipe.model
        if model.base != MINIATURE:
            return self._own(model.base, model.revision)
        config = self._recipe.miniature.base_model
        shipped = self._shipped(config, own_text=bool(self._texts))
        return self._add(BASE_MODEL.step(config, world=self._world.ref, shipped=shipped, **self._texts)).ref

    @cached_property
    def translator(self) -> Source:
        """The translator."""
        section = self._recipe.translation
        if section.model != MINIATURE:
            return self._own(section.model, section.revision)
        config = identities.translator(self._recipe)  # items are translated for a pivot alone: not its texts
        rows = self._texts.get("rows")
        shipped = self._shipped(config, own_text=rows is not None)
        return self._add(TRANSLATOR.step(config, world=self._world.ref, shipped=shipped, rows=rows)).ref

    def checkpoint(self, place: str, revision: str) -> Source:
        """A model that was trained elsewhere.

        Raises:
            ConfigError: a local one is no folder with a config and weights. Said here, since it is evaluated last.
        """
        source = self._own(place, revision)
        if isinstance(source, LocalSource) and source.sha256 != MISSING:
            lacking = [kind for kind in ("config.json", "*.safetensors") if not any(source.path.glob(kind))]
            if lacking:
                raise ConfigError(
                    f"the checkpoint {source.path} has no {' and no '.join(lacking)}; expected the folder of a model, "
                    "as `save_pretrained` writes it (weights in pickles are never read)"
                )
        return source

    @cached_property
    def _world(self) -> Step:
        return self._add(WORLD.step(self._recipe.miniature.world))

    @cached_property
    def _texts(self) -> dict[str, Source]:
        """Tiny models are made for the text they will meet, so real rows and items are inputs of their tokenizers.

        Rows with columns of their own are none: what is read of them is the stage select's to say.
        """
        texts: dict[str, Source] = {}
        data = self._recipe.data
        if data.source != MINIATURE and not is_hub_id(data.source) and data.columns == SourceColumns():
            texts["rows"] = self.rows
        if self._recipe.evaluation.items not in _OF_THE_WORLD:
            texts["items"] = self.items
        return texts

    def _shipped(self, config: BaseModelConfig | TranslatorConfig, own_text: bool) -> Source | None:
        """The tiny model that comes with the package, where it is the one that would be trained."""
        folder = None if own_text else shipped_model(config, self._recipe.miniature.world)
        return self._local.at(str(folder)) if folder else None

    def _own(self, place: str, revision: str) -> Source:
        return HubSource(place, revision) if is_hub_id(place) and revision else self._local.at(place)

    def _add(self, step: Step) -> Step:
        self._embedded[step.stage.name] = step
        return step
