"""`cc-tuning doctor`: what this machine can and cannot run, in plain words.

It has to work where the project does not: what it needs of a package that may be missing or broken is imported after
the finding that says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from cc_tuning.runtime.provenance import readable_bytes
from flows.terminal import escaped

# Weights, gradients and AdamW's two moments stay float32 while training, 4 bytes each (docs/deviations.md).
_TRAINING_BYTES_PER_PARAMETER = 16
_PAPER_PARAMETERS = 8e9
_EXTRAS = {
    "ct2": ("ctranslate2", "translation by `translation.engine: ctranslate2`"),
    "ray": ("ray", "workers on several machines by `execution.task_runner: ray`"),
    "lora": ("peft", "low-rank adapters by `training.lora.rank`"),
    "deepspeed": ("deepspeed", "training by `execution.sharding: zero3`"),
    "lmeval": ("lm_eval", "the command `lm-eval`"),
    "mirror": ("s3fs", "a mirror of the store by `execution.mirror`, on S3"),
    "gguf": ("gguf", "the command `import-gguf`"),
}
"""By the name of an extra: its module, and what needs it."""
_VLLM_PYTHON = Path(".vllm/bin/python")
"""The default of `execution.vllm_python`, below the folder of the command."""
_LOADS_VLLM = """
from importlib.metadata import entry_points
import vllm
from vllm import LLM
plugins = entry_points(group="vllm.general_plugins")
has_plugin = any(plugin.value.startswith("cc_tuning_vllm.") for plugin in plugins)
print(vllm.__version__, "with" if has_plugin else "without")
"""
_VLLM_SECONDS = 300
_GOOD, _BAD = "[green]yes[/]", "[red]no [/]"


def examine(folder: Path) -> Iterator[str]:
    """One line per finding, good or bad, each bad one with what to do."""
    yield from _software()
    yield from _machine(folder)
    lines, memories = _gpus()
    yield from lines
    yield from _abilities(memories)
    yield _vllm(folder / _VLLM_PYTHON)


def _software() -> Iterator[str]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    found = ".".join(map(str, sys.version_info[:3]))
    yield f"{_GOOD if supported else _BAD} Python {found}" + ("" if supported else ": use 3.11 or 3.12")
    for name, wanted, got in _unmet_requirements():
        yield f"{_BAD} {name} {got or 'is not installed'}: wanted {wanted}; run `pip install -c constraints.txt -e .`"
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    yield "    Hugging Face hub: " + ("offline by HF_HUB_OFFLINE" if offline else "asked only for hub ids in a recipe")


def _unmet_requirements() -> Iterator[tuple[str, str, str]]:
    for text in requires("cc-tuning") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            got = version(requirement.name)
        except PackageNotFoundError:
            got = ""
        if not got or not requirement.specifier.contains(got, prereleases=True):
            yield requirement.name, str(requirement.specifier), got


def _machine(folder: Path) -> Iterator[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = shutil.disk_usage(folder).free
    yield f"    {os.cpu_count()} cores, {readable_bytes(memory)} of memory, {readable_bytes(free)} of disk free here"
    if not os.access(folder, os.W_OK):
        place = escaped(str(folder))
        yield f"{_BAD} {place} cannot be written: set `execution.store` and `execution.output` to folders that can"


def _gpus() -> tuple[list[str], list[int]]:
    """A line for each GPU that torch can use, and its bytes of memory."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
        return [
            f"{_BAD} torch cannot be imported ({escaped(str(error))}): run `pip install -c constraints.txt -e .`"
        ], []
    lines, memories = [], []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memories.append(properties.total_memory)
        free = _free_memory(index)
        lines.append(f"{_GOOD} GPU {index}: {properties.name}, {readable_bytes(properties.total_memory)}{free}")
    return lines or ["    no GPU that torch can use"], memories


def _free_memory(index: int) -> str:
    if find_spec("pynvml") is None:
        return ""
    import pynvml  # the `gpu` extra

    pynvml.nvmlInit()
    memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index))
    return f", {readable_bytes(int(memory.free))} free"


def _abilities(memories: list[int]) -> Iterator[str]:
    yield f"{_GOOD} the quickstart: `cc-tuning run recipes/quickstart.yaml` needs two cores and no network"
    needed = _PAPER_PARAMETERS * _TRAINING_BYTES_PER_PARAMETER
    words = f"full fine-tuning of an 8B model takes {readable_bytes(int(needed))} for weights, gradients and AdamW"
    if any(memory > 1.2 * needed for memory in memories):
        yield f"{_GOOD} {words}, before activations: one GPU here holds it"
    else:
        held = readable_bytes(sum(memories))
        there = f"the GPUs here hold {held} together" if memories else "there is no GPU here"
        yield f"{_BAD} {words}, before activations; {there}"
    yield from _extras()


def _vllm(python: Path) -> str:
    """Whether the environment of vLLM is there, loads, and has the plugin."""
    what = "serving, and answers by `evaluation.engine: vllm`"
    if not python.is_file():
        return f"    {what}: no vLLM in {escaped(str(python))} (`make vllm`)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        ran = subprocess.run(
            [str(python), "-c", _LOADS_VLLM],
            env=environment, capture_output=True, text=True, timeout=_VLLM_SECONDS, check=True,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        last = str(said).strip().rpartition("\n")[2]
        return f"{_BAD} {what}: vLLM of {escaped(str(python))} does not load ({escaped(last)}): run `make vllm`"
    version_found, _, plugin = ran.stdout.strip().rpartition("\n")[2].partition(" ")
    if plugin != "with":
        return f"{_BAD} {what}: vLLM {version_found} has no plugin: run `pip install --no-deps ./serving` in it"
    return f"{_GOOD} {what}: vLLM {version_found} with the plugin"


def _extras() -> Iterator[str]:
    """What the project can do with a package more, and whether it is there."""
    for extra, (module, what) in _EXTRAS.items():
        is_there = find_spec(module) is not None
        state = "installed" if is_there else f"not installed (extra `{extra}`)"
        yield f"{_GOOD if is_there else '    '} {what}: {module} {state}"
    proxies = sorted({name.lower() for name in os.environ if name.lower().endswith("_proxy")} - {"no_proxy"})
    if proxies:
        yield f"    {', '.join(proxies)} set: what is on this machine is asked without, the hub through it"
    server = os.environ.get("PREFECT_API_URL", "")
    yield f"    Prefect: {'the server at ' + escaped(server) if server else 'a server of its own for each `run`'}"
