"""The engines that can answer, one row each: what a recipe calls it, what it can be asked, and where its code is.

An engine more is a module with a class that keeps the `Engine` protocol (`inference/jobs.py`), and a row here. The
class is named by a string and imported when it answers, since a recipe is checked without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from cc_tuning.errors import ConfigError

if TYPE_CHECKING:
    from cc_tuning.inference.jobs import Engine

EngineName = Literal["transformers", "vllm"]
RequestKind = Literal["generate", "loglikelihood"]


@dataclass(frozen=True)
class EngineEntry:
    """An engine as recipes know it."""

    name: str
    answers: frozenset[RequestKind]
    """The kinds of request that it can be asked."""
    place: str
    """`package.module:Class`."""

    def check_answers(self, kind: RequestKind, asked_by: str) -> None:
        """Refuse a kind of request that the engine has no answer to; `asked_by` says whose it is.

        Raises:
            ConfigError: names the engine, the kind, and the engines that have it.
        """
        if kind not in self.answers:
            able = [entry.name for entry in ENGINES.values() if kind in entry.answers]
            raise ConfigError(
                f"{asked_by} needs requests of the kind {kind!r}, and the engine {self.name!r} answers "
                f"{', '.join(sorted(self.answers))} only; engines with it: {', '.join(able) or 'none'}. Choose another "
                "engine, or leave out what needs it"
            )

    def load(self) -> "Engine":
        """The engine itself, its code imported."""
        module, _, name = self.place.partition(":")
        engine: Engine = getattr(import_module(module), name)()
        return engine


ENGINES: Mapping[str, EngineEntry] = {
    entry.name: entry
    for entry in (
        EngineEntry(
            "transformers",
            frozenset({"generate", "loglikelihood"}),
            "cc_tuning.inference.transformers_engine:TransformersEngine",
        ),
        EngineEntry("vllm", frozenset({"generate", "loglikelihood"}), "cc_tuning.inference.vllm.engine:VllmEngine"),
    )
}
