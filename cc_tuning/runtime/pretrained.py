"""Loading from a repository that may bring Python code of its own: the code never runs, and nobody is asked.

transformers asks on the terminal whether to run what `auto_map` in config.json or tokenizer_config.json names, and runs
it on `y`. With `trust_remote_code=False` it raises instead, and every loader here says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import AutoConfig, PretrainedConfig

from cc_tuning.errors import CcTuningError, UnsupportedModel
from cc_tuning.runtime.sources import Location


@contextmanager
def refusing_remote_code(name: str, failure: type[CcTuningError] = UnsupportedModel) -> Iterator[None]:
    """A context that turns transformers' question about the code of repository `name` into a `failure` that names it.

    Raises:
        CcTuningError: (as `failure`) the repository cannot be loaded without running its code.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise failure(
            f"{name} brings Python code of its own (`auto_map`), which it cannot be loaded without; remote code is "
            "never run here. Use a model and a tokenizer of a family that transformers itself has"
        ) from error


def load_config(location: Location) -> PretrainedConfig:
    """The config.json of a model: a directory, or of the hub at a pinned revision.

    Raises:
        UnsupportedModel: it cannot be read or downloaded, is of a kind that transformers does not know, or needs code
            of its own.
    """
    try:
        with refusing_remote_code(location.name):
            return AutoConfig.from_pretrained(
                location.name, revision=location.revision or "main", trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"the config.json of {location.name} cannot be used: {error}") from error
