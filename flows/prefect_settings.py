"""How Prefect is set for a run from any folder.

Prefect reads `[tool.prefect]` of a pyproject.toml in the working directory, which is this project's only where a
command is run in its clone. Elsewhere it would send telemetry, pickle results, and give its own server 20 seconds to
start. So the same settings are given as variables; one that the environment has already is left as it is.
"""

import os
from collections.abc import Mapping

PREFECT_SETTINGS: Mapping[str, str] = {
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cc_tuning,data_contracts",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
"""Those of pyproject.toml, but for the home: outside of a clone it is Prefect's own default."""


def set_prefect() -> None:
    """Give Prefect its settings; call it before Prefect is imported."""
    for name, value in PREFECT_SETTINGS.items():
        os.environ.setdefault(name, value)
