"""Replay what a Dockerfile installs, in a fresh virtual environment, where there is no engine that builds images.

    python docker/replay.py docker/cpu.Dockerfile FOLDER

The build context is copied as the engine would send it (`.dockerignore`), every `pip` command of a RUN is run in it by
a new environment of this interpreter's, and then the image's own command (ENTRYPOINT and CMD). What needs the image's
system, as apt-get and useradd do, is named and left out, and so is the user: this shows that what is installed fits
together and starts, not that the image builds.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from shutil import copytree

ROOT = Path(__file__).resolve().parent.parent


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (name, arguments), with continued lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, arguments) for name, arguments in split]


def commands(run: str) -> list[str]:
    """The commands of a RUN, which are joined by `&&`."""
    return [command.strip() for command in run.split("&&")]


def is_replayed(command: str) -> bool:
    return command.startswith("python -m pip ")


def copy_context(folder: Path) -> None:
    """Copy the project as the engine is sent it."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("#")]

    def ignored(place: str, names: list[str]) -> list[str]:
        inside = Path(place).relative_to(ROOT)
        return [name for name in names if any(_matches(str(inside / name), pattern) for pattern in patterns)]

    copytree(ROOT, folder, ignore=ignored, symlinks=True)


def _matches(path: str, pattern: str) -> bool:
    return fnmatch(path, pattern) or (pattern.startswith("**/") and fnmatch(Path(path).name, pattern[3:]))


def variables_of(found: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The variables that ENV and ARG set, but for those of the image's own environment of Python."""
    for name, arguments in found:
        if name in ("ENV", "ARG"):
            pairs = (pair.partition("=") for pair in shlex.split(arguments))
            yield from ((key, value) for key, _, value in pairs if key not in ("PATH", "VIRTUAL_ENV", "HF_HOME"))


def replay(dockerfile: Path, folder: Path) -> None:
    """Replay `dockerfile` in the new folder `folder`; a command that fails ends this program with its code."""
    found = instructions(dockerfile)
    context, environment = folder / "context", folder / "venv"
    copy_context(context)
    venv.create(environment, with_pip=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = kept | dict(variables_of(found)) | {"PATH": path}
    for run in (arguments for name, arguments in found if name == "RUN"):
        for command in commands(run):
            print(f"{'replayed' if is_replayed(command) else 'left out'}: {command}", flush=True)
            if is_replayed(command):
                _do(["sh", "-ec", command], context, variables)
    given = {name: json.loads(arguments) for name, arguments in found if name in ("ENTRYPOINT", "CMD")}
    command = [*given["ENTRYPOINT"], *given["CMD"]]
    print(f"started: {shlex.join(command)}", flush=True)
    _do(command, context, variables)


def _do(command: list[str], place: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=place, env=variables)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    replay(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
