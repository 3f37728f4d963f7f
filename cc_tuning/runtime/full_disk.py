"""Whether a failure is that of a full disk, whatever it is called by what met it.

Python says so by number. torch and safetensors have errors of their own without one; a training process says its last
words into a file of the same disk, where they have no room. So their texts are read, and where a process or torch fails
without a word of it, it is tried whether something can still be written.
"""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from cc_tuning.errors import EvaluationFailed, TrainingFailed, TranslationFailed

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = re.compile("|".join(re.escape(os.strerror(number)) for number in _NUMBERS))
_MAY_BE_MUTE = (RuntimeError, TrainingFailed, TranslationFailed, EvaluationFailed)
_TRIED_BYTES = 1 << 20


def full_disk(error: BaseException, folder: Path) -> OSError | None:
    """The error of a full disk (or quota) behind `error`, met by what writes below `folder`; None if it is none."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _NUMBERS:
            return each
        if found := _WORDS.search(str(each)):
            number = next(number for number in _NUMBERS if os.strerror(number) == found[0])
            return OSError(number, found[0], str(folder))
    return _tried(folder) if isinstance(error, _MAY_BE_MUTE) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _tried(folder: Path) -> OSError | None:
    """The error of writing a megabyte into `folder`, if it is that of a full disk."""
    path = folder / f".{uuid4().hex}.tried"
    try:
        with path.open("wb") as file:
            file.write(bytes(_TRIED_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return OSError(error.errno, error.strerror, str(folder)) if error.errno in _NUMBERS else None
    finally:
        path.unlink(missing_ok=True)
    return None
