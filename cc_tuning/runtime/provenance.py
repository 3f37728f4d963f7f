"""How a result came about: source commit, library versions, memory. Recorded in every manifest."""

import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_RECORDED_LIBRARIES = (
    "torch",
    "transformers",
    "ctranslate2",
    "accelerate",
    "tokenizers",
    "polars",
    "pyarrow",
    "dataframely",
    "numpy",
    "prefect",
)


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide a result."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _RECORDED_LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def source_commit() -> str:
    """The commit of the checkout this code runs from, with `+changes` when files differ; `unknown` elsewhere."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return result.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def peak_memory_bytes() -> int:
    """The high-water mark of resident memory, of this process or its largest child, in bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * 1024  # ru_maxrss counts KiB on Linux
