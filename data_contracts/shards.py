"""Parts of a stage that survive a kill: a file, and a marker written after it that holds the file's sha256."""

from pathlib import Path
from typing import Any

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, sha256_of_file, write_json


class Shards:
    """The finished shards below one folder, named by what they hold (never by worker or time)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the shard's data lies; `name` carries its suffix, as in `spa_Latn/0-64.parquet`."""
        return self.folder / name

    def is_done(self, name: str) -> bool:
        """Whether the shard is there, whole, and the file its marker was written for.

        A marker that cannot be read vouches for nothing.
        """
        marker, path = self._marker(name), self.path(name)
        if not marker.is_file() or not path.is_file():
            return False
        try:
            return bool(read_json(marker).get("sha256") == sha256_of_file(path))
        except ArtifactMismatch:
            return False

    def mark_done(self, name: str, **facts: Any) -> None:
        """Write the shard's marker; call it after the file is in place. `facts` (counts, say) are kept beside it."""
        write_json(self._marker(name), {"sha256": sha256_of_file(self.path(name)), **facts})

    def is_marked(self, name: str) -> bool:
        """Whether the shard was finished once, whatever became of its file."""
        return self._marker(name).is_file()

    def facts(self, name: str) -> dict[str, Any]:
        """The facts that `mark_done` was told about a finished shard."""
        return {key: value for key, value in read_json(self._marker(name)).items() if key != "sha256"}

    def _marker(self, name: str) -> Path:
        return self.folder / f"{name}.done.json"
