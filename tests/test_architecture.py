"""The structure a reader can rely on: imports go down, nothing goes round, no file swallows more than one idea."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("flows", "tasks", "cc_tuning", "data_contracts")  # from top to bottom
LONGEST_FILE = 350
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
