"""A module run as if only torch, transformers and what they need were installed: `tests.bare_interpreter MODULE`."""

import builtins
import runpy
import sys
from types import ModuleType
from typing import Any

ABSENT = (
    "polars", "pyarrow", "dataframely", "prefect", "rich", "typer", "icu", "sentencex", "nltk", "matplotlib",
    "datasets", "peft",
)  # fmt: skip
NOT_OURS = ("regex", "yaml")
"""Imported by transformers and huggingface_hub themselves, but not to be imported by us."""
OURS = ("cc_tuning", "data_contracts")


def forget_packages() -> None:
    """Make imports of `ABSENT` fail for everyone, and those of `NOT_OURS` for our own modules."""
    sys.modules.update(dict.fromkeys(ABSENT))  # type: ignore[arg-type]  # None there: it cannot be imported
    import_module = builtins.__import__

    def guarded(name: str, globals: Any = None, *others: Any, **more: Any) -> ModuleType:
        importer = str((globals or {}).get("__name__", ""))
        if name.split(".")[0] in NOT_OURS and importer.split(".")[0] in OURS:
            raise ModuleNotFoundError(f"{importer} imports {name}", name=name)
        return import_module(name, globals, *others, **more)

    builtins.__import__ = guarded


if __name__ == "__main__":
    forget_packages()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
