"""What a checkout is turned into: an environment, a wheel, an image."""

import re
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


def locked() -> dict[str, tuple[str, list[str]]]:
    """Name -> version and hashes of what `requirements.lock` lists."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)(.*(?:\n .*)*)", text, re.MULTILINE)
    return {
        canonicalize_name(name): (version, re.findall(r"sha256:([0-9a-f]{64})\b", rest))
        for name, version, rest in entries
    }


def test_the_lock_has_the_pinned_versions_and_a_hash_of_each() -> None:
    lock = locked()
    assert all(hashes for _, hashes in lock.values())
    assert {name: version for name, (version, _) in lock.items() if name in PINS} == {
        name: PINS[name] for name in lock.keys() & PINS.keys()
    }
    needed = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    assert {canonicalize_name(Requirement(text).name) for text in needed} - {"cc-tuning"} <= lock.keys()


def test_the_lock_names_no_index() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


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
