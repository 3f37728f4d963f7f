"""Whether Prefect's server can be reached, said before the flow starts.

Prefect itself waits for minutes and ends in a traceback where its own server sits behind a proxy, where nobody answers
at PREFECT_API_URL, or where its database was written by a later version.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import prefect
from prefect.settings import get_current_settings

from cc_tuning.errors import ConfigError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANSWER_SECONDS = 10.0
_MIGRATIONS = Path("server") / "database" / "_migrations" / "versions" / "sqlite"


def reach_loopback_directly() -> None:
    """Name this machine's own addresses among those that need no proxy; the server of a run listens there."""
    named = [os.environ[name] for name in ("no_proxy", "NO_PROXY") if os.environ.get(name)]
    hosts = dict.fromkeys(host.strip() for value in named for host in value.split(",") if host.strip())
    direct = ",".join(dict.fromkeys((*hosts, *_LOOPBACK)))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = direct


def check_prefect_server() -> None:
    """Refuse to start where the flow could not reach a server, or could not start its own.

    Raises:
        ConfigError: nobody answers at PREFECT_API_URL, or the local database is of a later version of Prefect.
    """
    settings = get_current_settings()
    if settings.api.url:
        _check_answer(settings.api.url)
        return
    connection = settings.server.database.connection_url
    place = connection.get_secret_value() if connection else f"sqlite+aiosqlite:///{settings.home / 'prefect.db'}"
    match = re.fullmatch(r"sqlite\+aiosqlite:///([^?]+)(\?.*)?", place)
    if match and Path(match[1]).is_file():
        check_database(Path(match[1]), Path(prefect.__file__).parent / _MIGRATIONS)


@contextmanager
def named_when_no_server_starts() -> Iterator[None]:
    """A context in which Prefect starts a server of its own, and says in one line that it could not.

    Raises:
        ConfigError: it did not answer in time.
    """
    try:
        yield
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        seconds = get_current_settings().server.ephemeral.startup_timeout_seconds
        raise ConfigError(
            f"the Prefect server of this run did not answer within {seconds} seconds: the machine is busy, or a "
            "program keeps this process from its own address 127.0.0.1. Run it again (what was finished is kept), "
            "raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or run the stages one by one, which need no server"
        ) from error


def check_database(file: Path, migrations: Path) -> None:
    """Compare the revision of Prefect's SQLite database with those that the installed Prefect can migrate from.

    Raises:
        ConfigError: the revision is unknown, so a later version wrote it; or the file is no database.
    """
    advice = "set PREFECT_HOME to another folder, or move the file away: no result of yours is in it"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=_ANSWER_SECONDS)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall() if tables else []
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"Prefect's database {file} cannot be read ({error}); {advice}") from error
    known = " ".join(path.name for path in migrations.glob("*.py"))
    unknown = [revision for (revision,) in rows if f"_{revision}_" not in known]
    if unknown:
        raise ConfigError(
            f"Prefect's database {file} is of revision {unknown[0]}, which Prefect {prefect.__version__} does not "
            f"know: a later version wrote it; {advice}"
        )


def _check_answer(address: str) -> None:
    try:
        with urlopen(f"{address.rstrip('/')}/health", timeout=_ANSWER_SECONDS):
            return
    except HTTPError:
        return  # somebody answers; whether we are let in is for Prefect to say
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"no Prefect server answers at {address} ({reason}), which PREFECT_API_URL or your Prefect profile names; "
            "start it with `prefect server start`, or unset the address and the run starts a server of its own"
        ) from error
