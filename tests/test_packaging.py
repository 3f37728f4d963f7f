"""What a checkout is turned into: an environment, a wheel, an image."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    if version
}
UNPINNED = {"nvidia-ml-py", "deepspeed", "gcsfs", "adlfs"}
"""Extras for machines with GPUs and for clouds; the pins are those of the CPU environment that the tests run in."""


def declared() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [Requirement(text) for group in (PROJECT["project"]["dependencies"], *extras) for text in group]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_what_is_declared_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    pin = PINS.get(canonicalize_name(requirement.name))
    if pin is None:
        assert requirement.name in UNPINNED
    else:
        assert requirement.specifier.contains(pin)


def test_secrets_and_results_stay_out_of_images() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().split())
    assert {"docker/.env", ".git", ".cc-tuning", "runs", ".prefect"} <= ignored


def test_the_types_and_the_tables_of_every_package_are_shipped() -> None:
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in shipped.items():
        found = {path for pattern in patterns for path in (ROOT / package).glob(pattern)}
        files = {path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert {path for path in files if path.suffix != ".py"} == found
        assert ROOT / package / "py.typed" in found
