"""Run a flow from a terminal: through the server of PREFECT_API_URL, or through one that Prefect starts for the run."""

import logging

from flows.reproduce import reproduce
from flows.terminal import WithoutTraceback

_PREFECT_LOGGERS = ("flow_runs", "task_runs", "engine", "task_engine", "flow_engine")


def run_reproduce(recipe: str, overrides: tuple[str, ...]) -> str:
    """The `reproduce` flow in this process; returns the report's path."""
    for name in _PREFECT_LOGGERS:
        logging.getLogger(f"prefect.{name}").addFilter(WithoutTraceback())
    return reproduce(recipe, overrides)
