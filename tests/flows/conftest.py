"""A Prefect server of its own on loopback, for the tests that deploy to one."""

from collections.abc import Iterator

import pytest

from tests.flows.deployed import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with an empty database; what one test deploys, the next finds."""
    with running_server(tmp_path_factory.mktemp("prefect")) as started:
        yield started
