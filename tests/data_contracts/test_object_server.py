"""A mirror on a real object server: S3's protocol over loopback, spoken by moto's server and s3fs."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.artifact_files import remove_object
from data_contracts.errors import ArtifactMismatch, MirrorUnavailable
from data_contracts.files import sha256_of_file
from data_contracts.mirror import Mirror
from data_contracts.object_store import ObjectStore
from data_contracts.store import ArtifactStore
from tests.artifacts import finish
from tests.data_contracts.mirrored import chain, change, fetch, flipped, objects, pushing
from tests.watching import wait_until

pytestmark = pytest.mark.slow

NEEDED = "a local object server needs: pip install 'moto[server]' s3fs"
s3fs = pytest.importorskip("s3fs", reason=NEEDED)
pytest.importorskip("moto.server", reason=NEEDED)

MEGABYTE = 1 << 20
KILLS_AT_RANDOM = 8


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """An object server on loopback that keeps what it is sent in memory, and the environment that leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        wait_until(lambda: _answers(port), process)
        yield
    process.kill()
    process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def url(server: None, request: pytest.FixtureRequest) -> str:
    bucket = "bucket-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40].strip("-")
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/stores/one"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def test_fill_lose_fetch_verify(url: str, store: ArtifactStore) -> None:
    refs = chain(store)
    mirror = Mirror(url)
    assert [mirror.push(ref, store) for ref in refs] == [True, True]
    manifests = [store.verify(ref) for ref in refs]
    remove_object(store.root)
    assert [fetch(mirror, ref, store) for ref in refs] == [True, True]
    assert [store.verify(ref) for ref in refs] == manifests == [mirror.verify(ref) for ref in refs]
    assert {entry.ref for entry in mirror.entries()} == set(refs)
    assert not mirror.push(refs[0], store)


def test_a_damaged_object_is_found_and_mended(url: str, store: ArtifactStore, tmp_path: Path) -> None:
    select, _ = chain(store)
    mirror, other = Mirror(url), ArtifactStore(tmp_path / "other")
    mirror.push(select, store)
    change(url, sha256_of_file(store.folder(select) / "rows"), flipped)
    for look in (mirror.verify, lambda ref: fetch(mirror, ref, other)):
        with pytest.raises(ArtifactMismatch, match="is damaged"):
            look(select)
    mirror.push(select, store, again=True)
    assert fetch(mirror, select, other)


def test_a_file_in_several_parts_comes_back_as_it_was(url: str, store: ArtifactStore, tmp_path: Path) -> None:
    ref = finish(store, "train", {"weights": "w" * (101 * MEGABYTE)})
    mirror, other = Mirror(url), ArtifactStore(tmp_path / "other")
    assert mirror.push(ref, store)
    assert fetch(mirror, ref, other)
    assert other.verify(ref) == store.verify(ref) == mirror.verify(ref)


def test_a_push_killed_at_many_moments_leaves_nothing_half(url: str, store: ArtifactStore, tmp_path: Path) -> None:
    """After each SIGKILL nothing is there or all of it, each object is what its name says, and the next push ends."""
    ref = finish(store, "train", {f"weights-{i}": chr(97 + i) * (4 * MEGABYTE) for i in range(8)})
    manifest = store.verify(ref)
    began = time.monotonic()
    assert pushing(f"{url}/undisturbed", store, ref).wait() == 0
    whole = time.monotonic() - began
    generator = random.Random(20_261_127)
    # After so many objects were seen, and at random moments from the first request to the end.
    moments = [*range(1, 9), *(generator.uniform(0, whole) for _ in range(KILLS_AT_RANDOM))]
    killed_in_the_middle = 0
    for number, moment in enumerate(moments):
        place = f"{url}/{number}"
        process = pushing(place, store, ref)
        if isinstance(moment, int):
            wait_until(lambda: len(ObjectStore(place).sizes()) >= moment or process.poll() is not None)  # noqa: B023
        else:
            time.sleep(moment)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        left = objects(place)
        killed_in_the_middle += 0 < len(left) < 9
        for name, content in left.items():
            source = [record for record in manifest.files if name.endswith(record.sha256)]
            assert not source or len(content) == source[0].size
        mirror, other = Mirror(place), ArtifactStore(tmp_path / f"other-{number}")
        assert fetch(mirror, ref, other) == mirror.is_there(ref) == (len(left) == 9)
        mirror.push(ref, store)
        assert mirror.verify(ref) == manifest
        assert other.is_there(ref) or fetch(mirror, ref, other)
        assert other.verify(ref) == manifest
        remove_object(other.root)
        print(f"killed with {len(left)} of 9 objects there")
    assert killed_in_the_middle >= 3


def test_a_part_of_a_file_whose_push_was_killed_is_no_object(url: str, store: ArtifactStore, tmp_path: Path) -> None:
    ref = finish(store, "train", {"weights": "w" * (101 * MEGABYTE)})
    process = pushing(url, store, ref)
    bucket = url.split("/")[2]

    def uploads() -> list[object]:
        return s3fs.S3FileSystem().call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", [])

    wait_until(uploads, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert uploads() and not objects(url)
    mirror, other = Mirror(url), ArtifactStore(tmp_path / "other")
    assert not fetch(mirror, ref, other)
    assert mirror.push(ref, store)
    assert fetch(mirror, ref, other)


def test_a_bucket_that_is_not_there_and_a_server_that_is_gone_are_said(
    url: str, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    select, _ = chain(store)
    with pytest.raises(MirrorUnavailable, match="cannot write s3://nowhere-at-all/stores"):
        Mirror("s3://nowhere-at-all/stores").push(select, store)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(MirrorUnavailable, match="cannot read"):
        Mirror(url).is_there(select)
    s3fs.S3FileSystem.clear_instance_cache()
