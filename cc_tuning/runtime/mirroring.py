"""The part of a mirror in finding or making an artifact: asked where the store lacks it, filled with what was made.

A mirror never decides what a result is: what comes from it is verified as what was always there, and a damaged artifact
of it is made again and pushed again. To fetch, it has to be reached, since hours of computing hang on the answer; a
push that fails costs a line of the log, and the next run that finds the artifact makes up for it.
"""

import logging

from cc_tuning.runtime.execution import Execution
from data_contracts.errors import ArtifactMismatch, DataContractError, MadeByLaterVersion, OtherMaking
from data_contracts.manifest import Manifest
from data_contracts.mirror import Mirror
from data_contracts.store import ArtifactRef, ArtifactStore

logger = logging.getLogger(__name__)


class Mirrored:
    """One artifact and the mirror of `execution`, which may have none; `label` names the artifact in the log.

    Raises:
        MirrorUnavailable: the mirror's package is not installed, or nobody knows its kind.
    """

    def __init__(self, ref: ArtifactRef, label: str, store: ArtifactStore, execution: Execution) -> None:
        self._ref, self._label, self._store = ref, label, store
        self._mirror = Mirror(execution.mirror) if execution.mirror else None
        self._is_damaged = False

    def fetch(self) -> Manifest | None:
        """The manifest of the artifact, fetched into the store whose lock of it is held; None where that cannot be.

        Raises:
            MirrorUnavailable: the mirror cannot be reached.
            OSError: the local disk cannot be written.
        """
        if self._mirror is None:
            return None
        try:
            manifest = self._mirror.fetch(self._ref, self._store)
        except OtherMaking as other:
            logger.info("%s: not taken from the mirror, because %s", self._label, other)
            return None
        except MadeByLaterVersion as later:
            logger.warning("%s: not taken from the mirror, because %s", self._label, later)
            return None
        except ArtifactMismatch as mismatch:
            logger.warning("%s: made and pushed again, because in the mirror %s", self._label, mismatch)
            self._is_damaged = True
            return None
        if manifest is not None:
            logger.info("%s: fetched from %s", self._label, self._mirror.url)
        return manifest

    def push(self, *, was_made: bool) -> None:
        """Upload the artifact, which the store has: one that was made now, or one that the mirror lacks.

        What keeps it from being uploaded is said in the log, and stops nothing.
        """
        if self._mirror is None:
            return
        try:
            if not was_made and self._mirror.is_there(self._ref):
                return
            if self._mirror.push(self._ref, self._store, again=self._is_damaged):
                logger.info("%s: pushed to %s", self._label, self._mirror.url)
        except (DataContractError, OSError) as error:
            logger.warning("%s: not pushed to the mirror, because %s", self._label, error)


def in_mirror(refs: list[ArtifactRef], execution: Execution) -> frozenset[ArtifactRef]:
    """Those of `refs` that the mirror has a manifest of; without a mirror none. A small request each.

    Raises:
        MirrorUnavailable: it cannot be reached.
    """
    if not execution.mirror or not refs:
        return frozenset()
    mirror = Mirror(execution.mirror)
    return frozenset(ref for ref in refs if mirror.is_there(ref))
