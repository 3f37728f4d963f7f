"""Stores and published folders over time: second downloads, second users, later versions, full disks."""

import os
import shutil
import stat
import sys

import pytest

from data_contracts.files import ordinary_mode
from data_contracts.fingerprint import digest_of_files
from flows.cli import app
from flows.terminal import exit_code_of
from tests.field_reports.reported import Reported, json_of, needs_reports
from tests.small_disk import small_disk

pytestmark = [needs_reports, pytest.mark.slow]


def test_s07_hidden_folders_of_a_download_change_no_fingerprint(reported: Reported) -> None:
    base = reported.base()
    assert reported.run("materialize", base, run="ml-sft").code == 0
    kept = reported.scratch / "m/.cache/huggingface/download/config.json.metadata"
    kept.parent.mkdir(parents=True)
    for time in ("1700000000.0", "1700000001.0"):
        kept.write_text((reported.folder / "parts/hub_metadata.txt").read_text() + time)
        assert "materialize plain: cached" in reported.run("materialize", base, run="ml-sft").text


def test_s08_published_files_follow_the_umask_and_what_may_not_be_read_is_called_that(reported: Reported) -> None:
    before = os.umask(0o022)
    try:
        assert ordinary_mode() == 0o644
        assert reported.run("report", "runs=[cc-tuning]").code == 0
    finally:
        os.umask(before)
    published = reported.scratch / "out/field/checkpoints/cc-tuning"
    assert {stat.S_IMODE(path.stat().st_mode) for path in published.iterdir()} == {0o644}
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    closed = reported.artifact("train") / "summary.json"
    closed.chmod(0o600)
    for folder in (reported.scratch, *reported.scratch.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    assert reported.run("status").code == 0  # imports what the other user may not
    written = reported.scratch / "said.txt"
    with written.open("w") as said:
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            sys.stdout = sys.stderr = said
            arguments = ["status", "tiny.yaml", "--set", f"execution.store={reported.scratch}/store"]
            code = exit_code_of(lambda: app(arguments))
            said.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert f"{closed} may not be read by this user" in " ".join(written.read_text().split())


def test_s09_files_beside_published_ones_stay_and_replacing_is_said(
    reported: Reported, caplog: pytest.LogCaptureFixture
) -> None:
    assert reported.run("report", "runs=[cc-tuning]").code == 0
    folders = [reported.scratch / "out/field/checkpoints/cc-tuning", reported.scratch / "out/field/report"]
    for folder in folders:
        (folder / "NOTES.md").write_text("mine")
    with caplog.at_level("INFO"):
        assert reported.run("report", "runs=[cc-tuning]", "transform.ridge=0.01").code == 0
    assert [(folder / "NOTES.md").read_text() for folder in folders] == ["mine", "mine"]
    assert all(f"{folder} is replaced" in caplog.text for folder in folders)


def test_s11_an_artifact_of_a_later_version_is_refused_and_left_as_it_is(reported: Reported) -> None:
    assert reported.run("materialize", run="ml-sft").code == 0
    manifest = reported.artifact("materialize") / "manifest.json"
    manifest.write_text(manifest.read_text().replace("{", '{"of_a_later_version": 1,', 1))
    assert "of_a_later_version" in json_of(manifest)
    before = digest_of_files(reported.scratch / "store")
    done = reported.run("materialize", run="ml-sft")
    assert done.code == 2
    assert "later version" in done.text
    assert digest_of_files(reported.scratch / "store") == before


def test_s28_a_disk_that_fills_while_training_is_called_full_and_the_next_run_goes_on(reported: Reported) -> None:
    with small_disk(reported.scratch / "disk", 300) as disk:
        store = f"execution.store={disk / 'store'}"
        done = reported.run("train", store, run="ml-sft")
        assert done.code == 2
        assert "the disk is full: free some space" in done.text
        room = reported.scratch / "store"
        shutil.copytree(disk / "store", room)
    again = reported.run("train", run="ml-sft")
    assert again.code == 0, again.text
    assert "select: cached" in again.text
