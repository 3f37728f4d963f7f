"""Faults of data at rest: a broken contract, a damaged artifact, an identity without a stable form."""


class DataContractError(Exception):
    """The family of every error about data that passes between stages."""


class ContractViolation(DataContractError):
    """Rows or columns that do not keep the contract of their file."""


class ArtifactMismatch(DataContractError):
    """An artifact whose files are missing, damaged, or not the ones its manifest lists."""


class OtherMaking(ArtifactMismatch):
    """An artifact that is made from another making of an input than the one that is there."""


class NotAFile(DataContractError):
    """A FIFO, a device, a socket or a folder that contains itself, where a file or a folder is expected."""


class NotFingerprintable(DataContractError):
    """A value in an identity that has no stable canonical form."""


class StoreUnavailable(DataContractError):
    """The store cannot be written (read-only, full, not a directory), or a file of it may not be read."""


class MadeByLaterVersion(DataContractError):
    """An artifact whose manifest says more than this version knows; it is left as it is."""


class MirrorUnavailable(DataContractError):
    """The mirror of a store cannot be reached, read or written; or its address names none."""
