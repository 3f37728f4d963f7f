"""Commands in the terminals that people have: other encodings, closed pipes, proxies, brackets in paths, no home."""

import http.server
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError
from flows.cli import app
from flows.prefect_server import check_database, check_prefect_server, reach_loopback_directly
from flows.terminal import MISTAKE, UNREAD, exit_code_of

ROOT = Path(__file__).resolve().parent.parent.parent
SMALLEST = Path(__file__).parent / "smallest.yaml"
COMMAND = [sys.executable, "-m", "flows.cli"]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


def in_terminal(*arguments: str, cwd: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=environment(**variables), capture_output=True)


def test_characters_that_a_terminal_lacks_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "Škola.yaml").write_text("name: [\n")
    done = in_terminal("plan", str(tmp_path / "Škola.yaml"), PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 2
    assert b"?kola.yaml" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        arguments = ["status", str(SMALLEST), "--set", f"execution.store={tmp_path / 'store'}"]
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, env=environment(), stdout=nobody, stderr=subprocess.PIPE
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (UNREAD, b"")


def test_paths_with_brackets_and_blanks_are_printed_as_they_are(tmp_path: Path) -> None:
    store = tmp_path / "my store [v2] [red]" / "x"
    result = CliRunner().invoke(app, ["plan", str(SMALLEST), "--set", f"execution.store={store}"])
    assert result.exit_code == 0, result.output
    assert f"of disk in {store}" in result.output
    made = CliRunner().invoke(app, ["select", str(SMALLEST), "--set", f"execution.store={store}"])
    assert f"\n  {store}/select/" in made.output


def test_it_runs_from_any_folder_with_an_empty_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    recipe = tmp_path / "work" / "recipe.yaml"
    recipe.parent.mkdir()
    recipe.write_bytes(SMALLEST.read_bytes())
    for command in ("plan", "select"):
        done = in_terminal(command, "recipe.yaml", cwd=recipe.parent, HOME=str(home), NO_COLOR="1", TERM="dumb")
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout
    assert not [path for path in home.iterdir() if not path.name.startswith(".")]


def translating(tmp_path: Path) -> "subprocess.Popen[bytes]":
    """A command that has begun its first stage; its standard error is a pipe."""
    arguments = ["translate", str(SMALLEST), "--set", f"execution.store={tmp_path / 'store'}"]
    running = subprocess.Popen(
        [*COMMAND, *arguments], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=listen_to_hang_ups,
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if b"started" in line:
            break
    return running


def listen_to_hang_ups() -> None:
    """In a child: SIGHUP ends it, also where these tests run under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGTERM], [signal.SIGHUP], [signal.SIGTERM, signal.SIGINT]],
    ids=lambda signals: " ".join(number.name for number in signals),
)
def test_a_signal_once_or_twice_ends_with_one_line_and_its_code(tmp_path: Path, signals: list[signal.Signals]) -> None:
    running = translating(tmp_path)
    for number in signals:
        running.send_signal(number)
        time.sleep(0.05)
    _, said = running.communicate()
    assert running.returncode in {128 + number for number in signals}
    assert b"Traceback" not in said
    assert said.count(b"stopped; finished stages") == 1


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from flows.cli import main; main()"
    arguments = ["select", str(SMALLEST), "--set", f"execution.store={tmp_path / 'store'}"]
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if b"started" in line:
            break
    running.send_signal(signal.SIGHUP)
    _, said = running.communicate()
    assert running.returncode == 0, said


@pytest.mark.parametrize("given", ["", "example.org, 10.0.0.1"])
def test_loopback_needs_no_proxy_and_what_was_named_stays(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("no_proxy", given)
    monkeypatch.delenv("NO_PROXY", raising=False)
    reach_loopback_directly()
    hosts = os.environ["NO_PROXY"].split(",")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert {"127.0.0.1", "localhost"} <= set(hosts)
    assert hosts[: given.count(",") + 1] == ["example.org", "10.0.0.1"] or not given


class Answering(http.server.BaseHTTPRequestHandler):
    """Says 401 to everything, as a server does that wants a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/api"
        listening.shutdown()


def test_a_server_that_answers_is_left_to_prefect(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    check_prefect_server()


def test_a_server_that_does_not_answer_is_said_with_its_address(tmp_path: Path) -> None:
    done = in_terminal(
        "run", str(SMALLEST), "--set", f"execution.store={tmp_path}", PREFECT_API_URL="http://127.0.0.1:9/api"
    )  # fmt: skip
    assert done.returncode == 2
    assert b"no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "world").exists()


def test_a_database_of_a_later_prefect_is_said_before_the_flow_starts(tmp_path: Path) -> None:
    migrations = tmp_path / "versions"
    migrations.mkdir()
    (migrations / "2026_01_01_000000_0123456789ab_a_change.py").write_text("")
    file = tmp_path / "prefect.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    check_database(file, migrations)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(ConfigError, match=r"revision ffffffffffff.*a later version wrote it; set PREFECT_HOME"):
        check_database(file, migrations)
    file.write_bytes(b"no database at all, but of some length" * 40)
    with pytest.raises(ConfigError, match="cannot be read"):
        check_database(file, migrations)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_outside_of_the_store_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(lambda: Path("/dev/full").write_bytes(b"a page")) == MISTAKE
    said = capsys.readouterr().err
    assert "No space left on device" in said and "Traceback" not in said
