"""Arrow files, as `datasets.save_to_disk` writes them: the streaming form, or the file form with its footer."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from data_contracts.errors import ArtifactMismatch

_FILE_MAGIC = b"ARROW1"


def read_arrow_schema(path: Path) -> pa.Schema:
    """The columns of an Arrow file.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not Arrow.
    """
    with _opened(path) as (schema, _):
        return schema


def read_arrow_batches(path: Path, columns: Collection[str], rows: int) -> Iterator[pa.Table]:
    """Some columns of an Arrow file, at most `rows` rows at a time, in the file's order.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not Arrow; found when its place is reached.
    """
    with _opened(path) as (_, batches):
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                yield pa.Table.from_batches([batch.slice(start, rows)]).select(list(columns))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    try:
        with path.open("rb") as probe:
            is_file_form = probe.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        with pa.memory_map(str(path)) as mapped:
            if is_file_form:
                file = pa.ipc.open_file(mapped)
                yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                stream = pa.ipc.open_stream(mapped)
                yield stream.schema, iter(stream)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactMismatch(f"{path} cannot be read as Arrow: {error}; restore the file") from error
