"""Where a model runs and with how many threads, from what the user asked for."""

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


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Inside, torch uses `threads` CPU threads; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
