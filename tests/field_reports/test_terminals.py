"""Terminals, proxies and servers as people have them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.field_reports.reported import Reported, needs_reports

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:9"
PROXIED = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), DEAD)

pytestmark = needs_reports


def in_terminal(reported: Reported, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    places = [f"execution.store={reported.scratch / 'store'}", f"execution.output={reported.scratch / 'out'}"]
    command = [sys.executable, "-m", "flows.cli", arguments[0], "tiny.yaml", *arguments[1:]]
    return subprocess.run(
        [*command, *(part for place in places for part in ("--set", place))],
        cwd=reported.folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables}, capture_output=True,
    )  # fmt: skip


@pytest.mark.slow
def test_s20_a_whole_run_goes_around_a_dead_proxy(reported: Reported) -> None:
    without = dict.fromkeys(("NO_PROXY", "no_proxy", "PREFECT_API_URL"), "")
    done = in_terminal(reported, "run", **PROXIED, **without)
    assert done.returncode == 0, done.stderr.decode()
    page = reported.scratch / "out/field/report/index.html"
    assert str(page).encode() in done.stdout
    assert page.is_file()


def test_s21_a_prefect_server_that_does_not_answer_is_one_line(reported: Reported) -> None:
    done = in_terminal(reported, "run", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert b"no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
    assert b"Traceback" not in done.stderr


def test_s22_characters_that_a_terminal_lacks_are_replaced(reported: Reported) -> None:
    assert reported.run("select").code == 0
    done = in_terminal(reported, "status", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr.decode("latin-1")
    assert b"whole" in done.stdout


@pytest.mark.slow
def test_s29_a_path_with_brackets_is_printed_as_it_is(reported: Reported) -> None:
    output = reported.scratch / "out [v2] [bold]"
    done = reported.run("report", f"execution.output={output}", "runs=[base]")
    assert done.code == 0, done.text
    assert re.search(re.escape(f"Report: {output}/field/report/index.html"), done.text)
