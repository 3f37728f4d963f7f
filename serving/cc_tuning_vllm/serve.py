"""`cc-tuning-vllm serve DIR`: vLLM's own server with safe defaults.

It takes the options of `vllm serve`. What differs: it listens on the loopback address unless `--host` says otherwise;
another address needs a key; the key comes from the environment, not from the command line, where every user of the
machine can read it; it is asked for on every path; and a directory without a connection is not served unnoticed.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from cc_tuning_vllm.key_guard import KEY_VARIABLE, KeyGuard
from cc_tuning_vllm.settings import SECTION

LOOPBACK = "127.0.0.1"
_GUARD = f"{KeyGuard.__module__}.{KeyGuard.__qualname__}"


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone; names other than `localhost` count as reached by all."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def checked(options: Namespace, environment: Mapping[str, str]) -> Namespace:
    """The options of `vllm serve` as they are used: with the guard, where there is a key.

    Raises:
        ValueError: an address that others reach without a key for them, a key on the command line, or a directory that
            has no connection.
    """
    has_key = bool(environment.get(KEY_VARIABLE, "").strip())
    if options.api_key:
        raise ValueError(
            f"--api-key is in the list of processes, for all users of this machine to read; put the key in the "
            f"variable {KEY_VARIABLE} instead"
        )
    if not has_key and not options.uds and not is_loopback(options.host):
        raise ValueError(
            f"--host {options.host} is reached by others, and no key is asked of them; set the variable "
            f"{KEY_VARIABLE}, or leave --host out to listen on {LOOPBACK}"
        )
    if has_key and (options.grpc or options.grpc_port is not None):
        raise ValueError("a key is asked for over HTTP alone, and gRPC would be open beside it; leave gRPC out")
    config = Path(options.model_tag or options.model) / "config.json"
    if config.is_file() and SECTION not in json.loads(config.read_text(encoding="utf-8")):
        raise ValueError(
            f"{config} has no section {SECTION!r}, so its model would answer without a connection; write the directory "
            "with `cc-tuning export CHECKPOINT DIR`, or serve it with `vllm serve`"
        )
    middleware = [*options.middleware, *([_GUARD] if has_key else [])]  # the last one is the first to see a request
    return Namespace(**(vars(options) | {"middleware": middleware}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve as the command line says, until the process is told to stop."""
    # vLLM is imported here: the checks above need none of it.
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parser = FlexibleArgumentParser(prog="cc-tuning-vllm", description="Serve what `cc-tuning export` wrote.")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(dest="subparser", required=True)).set_defaults(host=LOOPBACK)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = checked(parser.parse_args(given), os.environ)
    except ValueError as error:
        parser.error(str(error))
    configure_logging_from_args(options)
    command.validate(options)
    command.cmd(options)
