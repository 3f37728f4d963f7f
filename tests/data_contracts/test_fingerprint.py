"""Identity: equal meanings have one form, and what has no stable form is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from data_contracts.errors import NotFingerprintable
from data_contracts.fingerprint import canonical_json, digest_of_files, fingerprint

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Sizes(BaseModel):
    rows: int = 3
    share: float = 0.5


def test_fingerprint_does_not_depend_on_the_order_of_keys_or_inputs() -> None:
    class Turned(BaseModel):
        share: float = 0.5
        rows: int = 3

    first = fingerprint("select", 1, Sizes(), {"a": "1", "b": "2"})
    assert first == fingerprint("select", 1, Turned(), {"b": "2", "a": "1"})


@pytest.mark.parametrize(
    "other",
    [
        fingerprint("translate", 1, Sizes(), {"a": "1"}),
        fingerprint("select", 2, Sizes(), {"a": "1"}),
        fingerprint("select", 1, Sizes(rows=4), {"a": "1"}),
        fingerprint("select", 1, Sizes(), {"a": "2"}),
        fingerprint("select", 1, Sizes(), {}),
    ],
)
def test_fingerprint_changes_with_stage_version_config_and_inputs(other: str) -> None:
    assert fingerprint("select", 1, Sizes(), {"a": "1"}) != other


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from data_contracts.fingerprint import fingerprint\n"
        "from pydantic import BaseModel\n"
        "class Sizes(BaseModel):\n    rows: int = 3\n    share: float = 0.5\n"
        "print(fingerprint('select', 1, Sizes(), {'a': '1'}))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == fingerprint("select", 1, Sizes(), {"a": "1"})


@given(plain)
def test_canonical_json_reads_back_to_the_same_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("value", [print, {1, 2}, object(), float("nan"), {1: "x"}, Path("x"), b"x"])
def test_a_value_without_a_stable_form_is_refused(value: object) -> None:
    with pytest.raises(NotFingerprintable, match="value"):
        canonical_json({"here": value})


def test_digest_of_a_folder_follows_names_and_contents_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest_of_files(tmp_path)
    (tmp_path / "a" / "x").touch()
    assert digest_of_files(tmp_path) == before
    (tmp_path / "a" / "x").write_text("2")
    assert digest_of_files(tmp_path) != before
    (tmp_path / "a" / "x").write_text("1")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert digest_of_files(tmp_path) != before
