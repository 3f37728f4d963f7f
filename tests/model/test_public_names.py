"""The names that `cc_tuning.model` offers, which it imports when they are asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import cc_tuning.model

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", cc_tuning.model.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(cc_tuning.model, name)
    assert not isinstance(found, type) or found.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'CrossLingual'"):
        cc_tuning.model.CrossLingual  # noqa: B018


def test_the_config_comes_without_torch() -> None:
    code = "import sys; import cc_tuning.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
