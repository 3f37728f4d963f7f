"""The benchmarks as modules: they are scripts, beside each other and not installed."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Callable[[str], ModuleType]:
    """`benchmark("gpu_parts.board")`: a module of the folder `benchmarks`."""
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "benchmarks")
    return import_module
