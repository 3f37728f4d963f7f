"""The structure a reader can rely on: imports go down, nothing goes round, no file swallows more than one idea.

Inside `cc_tuning` a folder is a library, and two are not: `stages/`, where a file is a stage of the pipeline, and
`pipeline/`, which makes steps of a recipe. Libraries know neither.
"""

import ast
from pathlib import Path

import pytest

from cc_tuning.runtime.stage_table import PIPELINE
from cc_tuning.runtime.step import Stage

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("flows", "tasks", "cc_tuning", "data_contracts")  # from top to bottom
LONGEST_FILE = 350
MOST_ENTRIES = 18  # of cc_tuning/, so that one look shows the house
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:  # `from package import module` names the module, not the package
                module = f"{node.module}.{alias.name}"
                found.add(module if module in MODULES else str(node.module))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = set(LAYERS[:layer])
    upward = {name for name in imported_modules(path) if name.split(".")[0] in above}
    assert not upward, f"{module_name(path)} imports {sorted(upward)} from a layer above it"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.relative_to(ROOT).parts[0] in LAYERS[2:]], ids=module_name
)
def test_the_library_works_without_prefect(path: Path) -> None:
    assert not [name for name in imported_modules(path) if name.split(".")[0] == "prefect"]


def test_no_module_imports_itself_by_a_detour() -> None:
    imports = {module_name(path): imported_modules(path) & MODULES for path in SOURCES}
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in finished:
            for other in sorted(imports[name] - {name}):
                visit(other, (*trail, name))
            finished.add(name)

    for name in sorted(MODULES):
        visit(name, ())


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_file_takes_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def package_of(module: str) -> str:
    """`training` of `cc_tuning.training.rows.examples`; a module at the top is its own package."""
    return module.split(".")[1] if "." in module else module


def package_imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] == "cc_tuning":
            own = package_of(module_name(path))
            others = {package_of(name) for name in imported_modules(path) if name.startswith("cc_tuning.")}
            found.setdefault(own, set()).update(others - {own})
    return found


def test_packages_import_each_other_one_way() -> None:
    imports = package_imports()

    def below(package: str, trail: tuple[str, ...] = ()) -> set[str]:
        assert package not in trail, " -> ".join((*trail[trail.index(package) :], package))
        return imports.get(package, set()).union(
            *(below(other, (*trail, package)) for other in imports.get(package, set()))
        )

    for package in imports:
        assert package not in below(package)


def test_libraries_know_neither_stages_nor_the_pipeline() -> None:
    for package, others in package_imports().items():
        if package not in ("stages", "pipeline"):
            assert not others & {"stages", "pipeline"}, f"{package} imports {others & {'stages', 'pipeline'}}"


def test_the_machinery_that_runs_steps_knows_no_method() -> None:
    assert package_imports()["runtime"] <= {"errors"}


@pytest.mark.parametrize("stage", PIPELINE, ids=lambda stage: stage.name)
def test_a_file_is_a_stage_and_imports_no_other(stage: Stage) -> None:
    path = ROOT / "cc_tuning" / "stages" / f"{stage.name}.py"
    assert f"def {str(stage.function).partition(':')[2]}(" in path.read_text(encoding="utf-8")
    assert not [name for name in imported_modules(path) if name.startswith("cc_tuning.stages")]


def test_every_file_of_stages_is_a_stage() -> None:
    files = {path.stem for path in (ROOT / "cc_tuning" / "stages").glob("*.py")} - {"__init__"}
    assert files == {stage.name for stage in PIPELINE}


def test_the_library_is_seen_at_one_look() -> None:
    entries = [path.name for path in (ROOT / "cc_tuning").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
