"""What can go wrong in the library. A message says what happened, where, what was got and expected, and what to do."""


class CcTuningError(Exception):
    """The family of every error that a user can act on."""


class ConfigError(CcTuningError):
    """A recipe or an argument that cannot be run as written."""


class PromptNotFound(CcTuningError):
    """A prompt without its connection position: empty, or cut before its end."""


class UnsupportedModel(CcTuningError):
    """A model family, checkpoint or tokenizer that the connection cannot be attached to."""


class TranslationFailed(CcTuningError):
    """The translator could not be loaded or did not do its work."""


class WorkerStopped(CcTuningError):
    """A worker process was ended because its work is no longer wanted, most often since another one failed."""


class TrainingFailed(CcTuningError):
    """Training stopped before its last step."""


class TransformFailed(CcTuningError):
    """No Transform Matrix could be fitted."""


class EvaluationFailed(CcTuningError):
    """The evaluation engine stopped before every item was answered."""


def in_one_line(text: str, longest: int = 300) -> str:
    """`text` without its line breaks, and of a long one its beginning and its end."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    return f"{line[: longest * 2 // 3]}… ({len(line):,} characters) …{line[-longest // 3 :]}"
