"""A Postgres server of a test's own, for Prefect's server: started, stopped in the middle, started again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flows.deployed import free_port, wait_until

PASSWORD = "p@ss:w/rd #%$ü'\"?&+"
"""With every character that an address, a shell or a YAML file would take for its own."""
UNPRIVILEGED = "nobody"
"""Postgres refuses to run as root."""
_SECONDS_TO_START = 120


def programs_of_postgres() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest one where Debian keeps several, or `None`."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@dataclass
class Postgres:
    """A database cluster in a folder, and the process that serves it, if any."""

    folder: Path
    programs: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What Prefect's server has to be given."""
        return {
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(self.port),
            "PREFECT_SERVER_DATABASE_USER": "prefect",
            "PREFECT_SERVER_DATABASE_NAME": "postgres",
            "PREFECT_SERVER_DATABASE_PASSWORD": PASSWORD,
        }

    def create(self) -> None:
        """Make the cluster, with a user whose password is asked for."""
        if os.geteuid() == 0:
            owner = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        subprocess.run(
            [
                self.programs / "initdb", "--pgdata", self.folder / "data", "--username", "prefect",
                "--auth", "scram-sha-256", "--pwfile", password_file, "--encoding", "UTF8", "--no-locale", "--no-sync",
            ],
            check=True, capture_output=True, **self._account(),
        )  # fmt: skip

    def start(self) -> None:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *settings],
                stdout=log, stderr=log, start_new_session=True, **self._account(),
            )  # fmt: skip
        asked = [self.programs / "pg_isready", "--host", "127.0.0.1", "--port", str(self.port)]
        wait_until(lambda: subprocess.run(asked, capture_output=True).returncode == 0, _SECONDS_TO_START)

    def stop(self) -> None:
        """End every connection at once, as `pg_ctl stop --mode immediate` and a loss of power do."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)
        self.process = None

    def _account(self) -> dict[str, Any]:
        """Whose processes these are; they start in a folder that any account may enter."""
        account = {"user": UNPRIVILEGED, "group": pwd.getpwnam(UNPRIVILEGED).pw_gid, "extra_groups": []}
        return {"cwd": "/", **(account if os.geteuid() == 0 else {})}


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """An empty database that is served on loopback; its folder is short-lived and may be entered by its account."""
    programs = programs_of_postgres()
    assert programs is not None, "Postgres is not installed"
    with tempfile.TemporaryDirectory(prefix="cc-tuning-postgres-") as folder:
        database = Postgres(Path(folder), programs, free_port())
        database.create()
        database.start()
        try:
            yield database
        finally:
            if database.process is not None:
                database.stop()
