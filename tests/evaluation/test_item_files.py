"""Files of published benchmarks: found on this machine or named as missing, and refused where they differ."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.sources import SOURCES, fetching
from cc_tuning.evaluation.sources.fetching import fetch_files
from cc_tuning.evaluation.sources.reading import check_bytes, read_rows
from cc_tuning.evaluation.sources.source import RemoteFile
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import sha256_of_file

PIN = "0123456789abcdef0123456789abcdef01234567"


def remote(format: str, columns: tuple[str, ...] = ("a", "b"), **known: object) -> RemoteFile:
    return RemoteFile(repository="o/n", revision=PIN, path=f"x.{format}", format=format, columns=columns, **known)  # type: ignore[arg-type]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's own switch, and empty caches."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine that gives one answer to everything: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("no_network")
def test_without_a_network_one_error_lists_every_missing_file_its_commit_and_its_place(tmp_path: Path) -> None:
    files = [*SOURCES["XNLI"].files_of(("sw", "ur")).values(), *SOURCES["MKQA"].files.values()]
    own = tmp_path / "hub" / files[1].place
    own.parent.mkdir(parents=True)
    own.write_bytes(b"it is there")
    with pytest.raises(ConfigError) as error:
        fetch_files(files, tmp_path / "hub")
    message = str(error.value)
    assert message.startswith("3 of 4 benchmark files are not on this machine")
    for file in (files[0], files[2], files[3]):
        assert message.count(f"  {tmp_path / 'hub' / file.place}") == 1 and file.revision in message
    assert str(own) not in message
    assert "execution.hub_files" in message


@pytest.mark.usefixtures("no_network")
def test_a_file_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    file = SOURCES["BELEBELE"].files["en"]
    own = tmp_path / "facebook" / "belebele" / "data" / "eng_Latn.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert fetch_files([file, file], tmp_path) == {file: own}


@pytest.mark.usefixtures("no_network")
def test_a_file_in_the_hubs_cache_at_its_commit_needs_no_network(tmp_path: Path) -> None:
    file = SOURCES["BELEBELE"].files["en"]
    cached = tmp_path / "cache" / "datasets--facebook--belebele" / "snapshots" / file.revision / file.path
    cached.parent.mkdir(parents=True)
    cached.write_text("{}")
    assert fetch_files([file], tmp_path / "hub")[file].read_text() == "{}"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", r"o/n/x.parquet at 0123.* is gated: accept its terms .*hf auth login"),
        (404, "RepoNotFound", r"o/n/x.parquet at 0123.* cannot be fetched from the hub"),
        (404, "RevisionNotFound", r"o/n/x.parquet at 0123.* cannot be fetched from the hub"),
        (404, "EntryNotFound", r"o/n/x.parquet at 0123.* cannot be fetched from the hub"),
        (400, "Bad", r"1 of 1 benchmark files are not on this machine and cannot be fetched: Bad request"),
    ],
)
def test_what_the_hub_refuses_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str, words: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with answering(status, X_Error_Code=code, X_Error_Message="No") as (address, asked):
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(ConfigError, match=words):
            fetch_files([remote("parquet")], tmp_path)
    assert asked and all(PIN in path for path in asked)


def test_a_file_of_github_is_fetched_once_at_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    file = replace(remote("jsonl.gz"), host="github")
    with answering(200, b"the bytes") as (address, asked):
        monkeypatch.setattr(fetching, "GITHUB_FILES", address)
        found = [fetch_files([file], tmp_path / "hub")[file] for _ in range(2)]
    assert found[0].read_bytes() == b"the bytes"
    assert asked == [f"/o/n/{PIN}/x.jsonl.gz"]


def test_a_commit_that_github_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with answering(404) as (address, _):
        monkeypatch.setattr(fetching, "GITHUB_FILES", address)
        with pytest.raises(ConfigError, match=rf"o/n/{PIN}/x.jsonl.gz answers 404"):
            fetch_files([replace(remote("jsonl.gz"), host="github")], tmp_path)
    assert not list(tmp_path.rglob("x.jsonl.gz"))


def test_another_number_of_rows_is_refused_with_both_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["1", "2"], "b": ["x", "y"]}), tmp_path / "x.parquet")
    with pytest.raises(ArtifactMismatch, match=r"has 2 rows, expected 3 of o/n/x.parquet at 0123"):
        list(read_rows(remote("parquet", rows=3), tmp_path / "x.parquet"))
    assert len(list(read_rows(remote("parquet", rows=2), tmp_path / "x.parquet"))) == 2


def test_another_checksum_is_refused_with_both_checksums(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    known = sha256_of_file(path)
    assert check_bytes(remote("csv", sha256=known), path) == check_bytes(remote("csv"), path) == known
    path.write_text("a,b\n1,3\n")
    with pytest.raises(ArtifactMismatch) as error:
        check_bytes(remote("csv", sha256=known), path)
    assert known in str(error.value) and sha256_of_file(path) in str(error.value)


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("csv", b"a,c\n1,2\n"),
        ("csv", b"a,b\n1\n"),
        ("csv", b"a,b\n1,2,3\n"),
        ("csv", b'a,b\n"1,2\n'),
        ("tsv", b"a\tb\n1\t2\t3\n"),
        ("jsonl", b'{"a": 1}\n'),
        ("jsonl", b'{"a": 1,\n'),
        ("jsonl.gz", gzip.compress(b"[]\n")),
        ("jsonl", b"null\n"),
        ("jsonl", b'{"a": 1, "b": "\\ud800"}\n'),
        ("jsonl", b"[" * 100_000),
    ],
    ids=[
        "column",
        "short row",
        "long row",
        "open quote",
        "cells",
        "key",
        "not JSON",
        "a list",
        "null",
        "half a pair",
        "deep",
    ],
)
def test_a_file_of_another_shape_is_refused_by_name(tmp_path: Path, format: str, content: bytes) -> None:
    path = tmp_path / f"x.{format}"
    path.write_bytes(content)
    with pytest.raises(ContractViolation, match=str(path)):
        list(read_rows(remote(format), path))


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("parquet", b"PAR1 but no more"),
        ("csv", b"a,b\n\xff,2\n"),
        ("jsonl.gz", gzip.compress(b'{"a": 1, "b": 2}\n' * 1000)[:40]),
        ("jsonl.gz", b"not zipped"),
    ],
    ids=["parquet", "not UTF-8", "cut", "not gzip"],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, format: str, content: bytes) -> None:
    path = tmp_path / f"x.{format}"
    path.write_bytes(content)
    with pytest.raises(ArtifactMismatch, match=str(path)):
        list(read_rows(remote(format), path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He said "go".\tend', ['He said "go".', "end"]),
        ('"Go!" he said.\t"end"', ['"Go!" he said.', '"end"']),
        ('"He said ""go""."\tend', ['He said "go".', "end"]),
        ('"one\ttwo"\tend', ["one\ttwo", "end"]),
        ("None\tNA", ["None", "NA"]),
        ("line\u2028inside\t\x1d", ["line\u2028inside", "\x1d"]),
        ("end\r", None),
    ],
    ids=["marks inside", "marks outside", "quoted", "quoted tab", "null words", "strange line ends", "one cell"],
)
def test_cells_of_a_tsv_are_what_was_written(tmp_path: Path, text: str, expected: list[str] | None) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"story\tending\n{text}\n", encoding="utf-8", newline="")
    if expected is None:
        with pytest.raises(ContractViolation, match=r"row 1: 1 cells, expected 2"):
            list(read_rows(remote("tsv"), path))
    else:
        (row,) = read_rows(remote("tsv"), path)
        assert list(row.values()) == expected
