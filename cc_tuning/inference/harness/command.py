"""lm-eval's own command line, with the model `cc_tuning` among those that it knows.

lm-eval 0.4 has no plug-ins: its command knows the models of its own package and nothing else. So this imports ours,
which registers it, and then gives lm-eval its arguments as they are. What it prints and writes is lm-eval's.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from cc_tuning.errors import ConfigError


def run_lm_eval(arguments: Sequence[str]) -> None:
    """Run `lm-eval ARGUMENTS` in this process.

    Raises:
        ConfigError: lm-eval is not installed; otherwise what the model raises.
        SystemExit: lm-eval ends, as it does after its help and after wrong arguments.
    """
    if find_spec("lm_eval") is None:
        raise ConfigError(
            "the package lm-eval is not installed; install it with `pip install 'cc-tuning[lmeval]'` and run the "
            "same command again"
        )
    # It reads the command line from there; the name of the program stands in its help.
    sys.argv = ["lm-eval", *arguments]
    import_module("cc_tuning.inference.harness.lm_eval_model")
    import_module("lm_eval.__main__").cli_evaluate()
