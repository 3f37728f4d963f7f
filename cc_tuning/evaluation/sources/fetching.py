"""Files of sources on this machine: put there by hand, in the hub's cache, or downloaded at their pinned commit.

A file of the hub is asked for at the 40 digits of its commit, so what is in the cache needs no network and can be of
no other version. `load_dataset` is not asked: where the hub does not answer, it takes the newest copy in its cache,
whatever its revision, and it refuses repositories with a script.
"""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from huggingface_hub import cached_assets_path, constants, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.sources.source import RemoteFile
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

GITHUB_FILES = "https://raw.githubusercontent.com"
_PAGES = {
    "hub": "https://huggingface.co/datasets/{file.repository}/tree/{file.revision}",
    "github": "https://github.com/{file.repository}/tree/{file.revision}",
}
_TIMEOUT_SECONDS = 60


class _Unreachable(Exception):
    """Neither is the file in a cache, nor does its host answer."""


def fetch_files(files: Iterable[RemoteFile], by_hand: Path) -> dict[RemoteFile, Path]:
    """Where each file lies on this machine; one in `by_hand` comes before the caches, which come before the network.

    Args:
        files: what is needed.
        by_hand: a folder with files at `OWNER/NAME/PATH`, as their repositories have them.

    Raises:
        ConfigError: files are nowhere and their host cannot be reached (one error for all of them, with the commits and
            where each can be put), a repository asks for its terms to be accepted, or does not have such a file.
    """
    found: dict[RemoteFile, Path] = {}
    missing: dict[RemoteFile, str] = {}
    for file in dict.fromkeys(files):
        own = by_hand / file.place
        if own.is_file():
            found[file] = own
            continue
        try:
            # Once a host did not answer, nobody waits for it again: what is missing is listed.
            found[file] = _fetched(file, is_offline=any(file.host == other.host for other in missing))
        except _Unreachable as error:
            missing[file] = str(error)
    if missing:
        count = f"{len(missing)} of {len(missing) + len(found)} benchmark files"
        raise ConfigError(
            f"{count} are not on this machine and cannot be fetched: {next(iter(missing.values()))}\n"
            "Run this once with a network, or put each there by hand, as it is at its commit "
            f"(`execution.hub_files` names the folder):\n{_listed(missing, by_hand)}"
        )
    return found


def _listed(missing: Iterable[RemoteFile], by_hand: Path) -> str:
    lines: list[str] = []
    for file in missing:
        if (page := _PAGES[file.host].format(file=file)) not in lines:
            lines.append(page)
        lines.append(f"  {by_hand / file.place}")
    return "\n".join(lines)


def _fetched(file: RemoteFile, *, is_offline: bool) -> Path:
    return _from_github(file, is_offline) if file.host == "github" else _from_hub(file, is_offline)


def _from_hub(file: RemoteFile, is_offline: bool) -> Path:
    try:
        path = hf_hub_download(
            file.repository,
            file.path,
            repo_type="dataset",
            revision=file.revision,
            local_files_only=is_offline,
        )
    except GatedRepoError as error:
        raise ConfigError(
            f"the repository of {file} is gated: accept its terms on https://huggingface.co/datasets/{file.repository} "
            "and log in with `hf auth login`, or leave the benchmark out of `evaluation.benchmarks`"
        ) from error
    except LocalEntryNotFoundError as error:
        raise _Unreachable(error.__cause__ or error) from error
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{file} cannot be fetched from the hub: {error}. If the repository has moved, put the file by hand into "
            "`execution.hub_files`"
        ) from error
    return Path(path)


def _from_github(file: RemoteFile, is_offline: bool) -> Path:
    namespace = file.repository.replace("/", "--")
    folder = cached_assets_path("cc-tuning", namespace, file.revision, assets_dir=constants.HF_ASSETS_CACHE)
    path = folder / file.path
    if path.is_file():
        return path
    if is_offline or constants.HF_HUB_OFFLINE:
        raise _Unreachable("no network may be used")
    url = f"{GITHUB_FILES}/{file.repository}/{file.revision}/{file.path}"
    logger.info("fetching %s", url)
    try:
        with (
            urlopen(url, timeout=_TIMEOUT_SECONDS) as answer,
            written_atomically(path) as temporary,
            temporary.open("wb") as copy,
        ):
            shutil.copyfileobj(answer, copy)
    except HTTPError as error:
        raise ConfigError(
            f"{url} answers {error.code} {error.reason}; put the file by hand into `execution.hub_files`"
        ) from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise _Unreachable(error) from error
    return path
