"""A Prefect server of its own on loopback, for the tests that deploy to one."""

from collections.abc import Iterator

import pytest

from tests.flows.databases import Postgres, programs_of_postgres, running_postgres
from tests.flows.deployed import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with an empty database; what one test deploys, the next finds."""
    with running_server(tmp_path_factory.mktemp("prefect")) as started:
        yield started


@pytest.fixture
def database() -> Iterator[Postgres]:
    """An empty database of Postgres, where that is installed."""
    if programs_of_postgres() is None:
        pytest.skip("Postgres is not installed: there is no initdb")
    pytest.importorskip("asyncpg", reason="Prefect speaks to Postgres through asyncpg")
    with running_postgres() as started:
        yield started


@pytest.fixture
def server_on_postgres(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with that database."""
    with running_server(tmp_path_factory.mktemp("prefect"), **database.settings) as started:
        yield started
