"""Stores that are shared: with the umask, with users who may not read, with later versions, with hidden files."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data_contracts.errors import MadeByLaterVersion, StoreUnavailable
from data_contracts.files import ordinary_mode, written_atomically
from data_contracts.fingerprint import digest_of_files
from data_contracts.manifest_file import MANIFEST
from data_contracts.store import ArtifactStore
from tests.artifacts import finish, ref_of

REF = ref_of("select")


def finished(store: ArtifactStore) -> Path:
    """The folder of an artifact of one file, as a library writes it that wants it for the owner alone."""
    return store.folder(finish(store, "select", {"rows.parquet": "rows"}))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_finished_files_have_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert ordinary_mode() == 0o666 & ~umask
        folder = finished(ArtifactStore(tmp_path / "store"))
        with written_atomically(tmp_path / "weights.safetensors") as temporary:
            save_file({"weight": torch.zeros(4)}, temporary)
            temporary.chmod(0o600)
        modes = {mode_of(path) for path in (*folder.iterdir(), tmp_path / "weights.safetensors")}
    finally:
        os.umask(before)
    assert modes == {0o666 & ~umask}


def test_an_artifact_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    manifest = finished(store) / MANIFEST
    later = json.loads(manifest.read_text()) | {"signature": "of a later version"}
    manifest.write_text(json.dumps(later))
    before = digest_of_files(tmp_path)
    with pytest.raises(MadeByLaterVersion, match=r"does not know \['signature'\].*left as it is"):
        store.verify(REF)
    assert digest_of_files(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["rows.parquet", MANIFEST])
def test_a_file_that_this_user_may_not_read_is_called_that(tmp_path: Path, name: str) -> None:
    store = ArtifactStore(tmp_path / "store")
    closed = finished(store) / name
    closed.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:  # another user
        os.setuid(65534)
        try:
            store.verify(REF)
        except StoreUnavailable as error:
            os._exit(0 if f"{closed} may not be read by this user" in str(error) else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("hidden", [".cache/huggingface/a.metadata", ".git/index", "._weights", ".DS_Store"])
def test_hidden_files_are_no_part_of_an_identity(tmp_path: Path, hidden: str) -> None:
    (tmp_path / "weights").write_bytes(b"w")
    before = digest_of_files(tmp_path)
    (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / hidden).write_text("1700000000.0")
    assert digest_of_files(tmp_path) == before
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "visible").write_text("1")
    assert digest_of_files(tmp_path) != before
