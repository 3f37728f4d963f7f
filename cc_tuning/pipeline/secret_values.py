"""Secrets in overrides: taken from the environment, and refused where they are written out.

Overrides are a flow's parameters, so Prefect writes them to its database and shows them to whoever opens the run. A
value of `execution` that is a secret (the address of a cluster with its password, say) is written `env:NAME`: the name
is what Prefect sees, and the value is looked up where the flow runs. Everything outside of `execution` is part of
manifests and of the report, so it can never be a secret.
"""

import os
import re
from typing import Any

from cc_tuning.errors import ConfigError

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRETS = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@"  # the password of an address
    r"|\b(?:hf_|gh[opsur]_|github_pat_|glpat-|sk-|xox[abp]-|AKIA)[A-Za-z0-9_-]{16,}"  # tokens by their prefixes
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def revealed(key: str, value: Any) -> Any:
    """The value of an override, `env:NAME` replaced by the variable NAME; also inside of mappings and lists.

    Raises:
        ConfigError: the variable is not set, or `key` lies outside of `execution`; or the value is a secret that is
            written out. No message holds the value.
    """
    if isinstance(value, dict):
        return {name: revealed(f"{key}.{name}", part) for name, part in value.items()}
    if isinstance(value, list):
        return [revealed(key, part) for part in value]
    if not isinstance(value, str):
        return value
    if match := _REFERENCE.fullmatch(value):
        if not key.startswith("execution."):
            raise ConfigError(
                f"override {key} is {value}, but only values of `execution` may come from the environment: all others "
                "stand in manifests and reports; write the value itself"
            )
        if match[1] not in os.environ:
            raise ConfigError(f"override {key} is {value}, and the environment variable {match[1]} is not set; set it")
        return os.environ[match[1]]
    if _SECRETS.search(value):
        raise ConfigError(
            f"override {key} holds what looks like a password or a token, which Prefect would write to its database; "
            "put it into an environment variable and write `env:NAME` (in `execution` alone), or leave it out"
        )
    return value
