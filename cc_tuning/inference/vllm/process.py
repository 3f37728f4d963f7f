"""vLLM in its own environment, a process beside the worker that asks: requests and answers are lines of JSON.

The two environments share no package that either could break, so the process is started with nothing of this one but
the plugin's sources, where they lie beside ours. It dies with the worker.
"""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from cc_tuning.errors import ConfigError, EvaluationFailed, UnsupportedModel
from cc_tuning.inference.vllm.requests import VllmAnswer, VllmRequest
from cc_tuning.runtime.subprocesses import LAST_LINES, python_path

TESTED = ("0.32.0",)
"""Versions of vLLM whose answers were compared."""
WORKER = "cc_tuning_vllm.worker"
_PLUGIN = Path(__file__).resolve().parents[3] / "serving"
_PRESET = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
_TIED_TO_US = (sys.executable, "-m", "cc_tuning.runtime.subprocesses")
"""The launcher that has the kernel end a process with the one that started it."""
_ANSWERS = TypeAdapter(list[VllmAnswer])


class VllmProcess:
    """A vLLM with the model in `directory`, asked by one thread."""

    def __init__(self, python: Path, directory: Path, arguments: Mapping[str, Any], threads: int) -> None:
        """Load the model.

        Raises:
            ConfigError: no such interpreter, or none with a vLLM of a tested version and the plugin.
            UnsupportedModel: vLLM refuses the model.
        """
        require_interpreter(python)
        self._python, self._directory = python, directory
        settings = json.dumps({"model": str(directory), "arguments": arguments})
        self._process = subprocess.Popen(
            [*_TIED_TO_US, str(os.getpid()), *command_of_vllm(python, WORKER, threads), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        threading.Thread(target=self._keep_last_lines, daemon=True).start()
        check_version(self._hear()["vllm"], python)
        self._hear()

    def ask(self, requests: Sequence[VllmRequest]) -> list[VllmAnswer]:
        try:
            _open(self._process.stdin).write(json.dumps([request.model_dump() for request in requests]) + "\n")
            _open(self._process.stdin).flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        answers = _ANSWERS.validate_python(self._hear())
        if len(answers) != len(requests):
            raise EvaluationFailed(f"vLLM gave {len(answers)} answers to {len(requests)} requests; run the stage again")
        return answers

    def close(self) -> None:
        """End the process, with what it holds of the memory."""
        _open(self._process.stdin).close()
        self._process.wait()

    def _hear(self) -> Any:
        line = _open(self._process.stdout).readline()
        if not line.endswith("\n"):
            raise self._ended()
        message = json.loads(line)
        if isinstance(message, dict) and "refused" in message:
            raise self._refused(message["refused"])
        return message

    def _refused(self, reason: str) -> Exception:
        if "ModuleNotFoundError" in reason or "ImportError" in reason:
            return _without_vllm(self._python, reason)
        return UnsupportedModel(
            f"vLLM refuses {self._directory}: {reason}. docs/serving.md says which models and settings it can have; "
            "the engine transformers answers with all others"
        )

    def _ended(self) -> Exception:
        code = self._process.wait()
        spoken = "\n  ".join(self._last_lines) or "(it said nothing)"
        if f"No module named {WORKER.partition('.')[0]!r}" in spoken or f"No module named {WORKER}" in spoken:
            return _without_vllm(self._python, "it has no package cc-tuning-vllm")
        return EvaluationFailed(f"vLLM ended with code {code}; its last lines:\n  {spoken}")

    def _keep_last_lines(self) -> None:
        for line in _open(self._process.stderr):
            self._last_lines.append(line.rstrip("\n"))


def require_interpreter(python: Path) -> None:
    """Refuse an interpreter that is not there.

    Raises:
        ConfigError: names it, and the command that makes the environment.
    """
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise ConfigError(
            f"execution.vllm_python is {str(python)!r}, and no interpreter is there; run `make vllm`, which makes "
            ".vllm/bin/python, or name the one of an environment with vLLM and the plugin, or set execution.vllm_url"
        )


def check_version(version: str, python: Path) -> None:
    """Refuse a vLLM that no answer was compared with; a build for a kind of machine is the same version.

    Raises:
        ConfigError: names both versions.
    """
    if version.partition("+")[0] not in TESTED:
        raise ConfigError(
            f"{python} has vLLM {version}; tested is {', '.join(TESTED)}, and another version may answer otherwise. "
            "`make vllm` makes an environment with it"
        )


def command_of_vllm(python: Path, module: str, threads: int) -> list[str]:
    """The command that runs a module of vLLM's environment with our variables, but nothing of our packages.

    What is set for vLLM itself (`VLLM_…`) stays; `threads` are its CPU threads.
    """
    variables = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    for name, value in _PRESET.items():
        variables[name] = os.environ.get(name, value)
    if _PLUGIN.is_dir():
        variables["PYTHONPATH"] = str(_PLUGIN)
    set_here = [f"{name}={value}" for name, value in sorted(variables.items())]
    return ["env", "-u", "PYTHONPATH", "-u", "PYTHONHOME", *set_here, str(python), "-m", module]


def _without_vllm(python: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{python} cannot run vLLM with the plugin: {reason}. `make vllm` makes an environment with both; where vLLM "
        "is installed already, add the plugin with `pip install --no-deps ./serving`"
    )


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
