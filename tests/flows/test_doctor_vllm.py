"""What `cc-tuning doctor` says of vLLM's environment, which this interpreter can know only by asking that one."""

import sys
from pathlib import Path

from flows.doctor import examine


def line_of_vllm(folder: Path) -> str:
    (line,) = [line for line in examine(folder) if "evaluation.engine: vllm" in line]
    return line


def test_an_environment_that_is_not_there_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    line = line_of_vllm(tmp_path)
    assert "no vLLM in" in line
    assert "`make vllm`" in line


def test_an_interpreter_without_vllm_is_said_not_to_load_it(tmp_path: Path) -> None:
    (tmp_path / ".vllm" / "bin").mkdir(parents=True)
    (tmp_path / ".vllm" / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    line = line_of_vllm(tmp_path)
    assert "does not load (ModuleNotFoundError: No module named 'vllm')" in line
    assert "run `make vllm`" in line


def test_a_vllm_without_the_plugin_is_told_apart_from_one_with_it(tmp_path: Path) -> None:
    """An interpreter of a script's, which has a package of vLLM's name and, in the second case, the entry point."""
    (tmp_path / ".vllm" / "bin").mkdir(parents=True)
    packages = tmp_path / "packages"
    (packages / "vllm").mkdir(parents=True)
    (packages / "vllm" / "__init__.py").write_text("__version__ = '0.32.0'\nLLM = None\n")
    python = tmp_path / ".vllm" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {Path(sys.base_prefix) / "bin" / "python3"} "$@"\n')
    python.chmod(0o755)
    assert "vLLM 0.32.0 has no plugin" in line_of_vllm(tmp_path)
    (packages / "plugin-1.dist-info").mkdir()
    (packages / "plugin-1.dist-info" / "METADATA").write_text("Name: plugin\nVersion: 1\n")
    (packages / "plugin-1.dist-info" / "entry_points.txt").write_text(
        "[vllm.general_plugins]\ncc_tuning = cc_tuning_vllm.plugin:register\n"
    )
    assert "vLLM 0.32.0 with the plugin" in line_of_vllm(tmp_path)
