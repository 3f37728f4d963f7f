"""Run a flow from a terminal: through the server of PREFECT_API_URL, or through one that Prefect starts for the run."""

import logging

from flows.reproduce import reproduce
from flows.terminal import WithoutTraceback


def run_reproduce(recipe: str, overrides: tuple[str, ...]) -> str:
    """The `reproduce` flow in this process; returns the report's path."""
    for name in (
        "prefect.flow_runs",
        "prefect.task_runs",
        "prefect.engine",
        "prefect.task_engine",
        "prefect.flow_engine",
    ):
        logging.getLogger(name).addFilter(WithoutTraceback())
    return reproduce(recipe, overrides)
