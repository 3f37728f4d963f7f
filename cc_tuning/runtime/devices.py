"""Where a model runs and with how many threads, from what the user asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cc_tuning.errors import ConfigError


def resolve_device(asked: str) -> torch.device:
    """The device for `execution.device`: `auto` is a GPU when there is one.

    Raises:
        ConfigError: `cuda` was asked for and this machine has none that torch can use.
    """
    has_gpu = torch.cuda.is_available()
    if asked == "cuda" and not has_gpu:
        raise ConfigError(
            "execution.device is 'cuda', but torch finds no CUDA device here; set it to 'auto' or 'cpu', or install a "
            "torch build for this machine's GPU (`cc-tuning doctor` says what is there)"
        )
    return torch.device("cuda" if asked != "cpu" and has_gpu else "cpu")


def visible_device_environment(asked: str, worker: int) -> dict[str, str]:
    """The variables that show worker process `worker` one device, so that several workers share out the GPUs.

    Raises:
        ConfigError: `cuda` was asked for and this machine has none that torch can use.
    """
    if resolve_device(asked).type == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    # Names may be numbers or UUIDs; a worker sees those that this process sees.
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    devices = named or [str(index) for index in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]}


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Inside, torch uses `threads` CPU threads; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
