"""`cc-tuning store`: what a store holds, whether it is whole, what of it may go, and what goes elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from cc_tuning.runtime.execution import Execution

# As in `flows/cli.py`, a command imports its work when it is called.

FAULTY = 1
"""Exit code where something is damaged."""

app = typer.Typer(no_args_is_help=True, help="Look into a store: sizes, ages, damage, retention, copies.")

StoreOption = Annotated[Path, typer.Option("--store", help="The store's folder.")]
ArtifactArguments = Annotated[
    list[str], typer.Argument(metavar="[ARTIFACT]...", help="STAGE, or STAGE/FINGERPRINT or its beginning; none: all.")
]
RecipesOption = Annotated[list[Path], typer.Option("--recipe", help="All artifacts of a recipe; may stand repeatedly.")]
MirrorOption = Annotated[str, typer.Option("--mirror", help="The mirror's URL, as s3://bucket/prefix.")]
_DEFAULT = Execution().store


@app.command()
def ls(
    store: StoreOption = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List artifacts with size, days since a run last asked for them, state, and what was made from them."""
    from flows.store_contents import show_store

    show_store(store, as_json)


@app.command()
def verify(artifacts: ArtifactArguments = [], store: StoreOption = _DEFAULT, mirror: MirrorOption = "") -> None:
    """Hash every file again and hold it, the manifests and the inputs against what was recorded; exit 1 on a fault.

    With --mirror it is the mirror that is looked at, which reads all of it, and not the store.
    """
    from flows.store_contents import show_faults
    from flows.store_mirror import show_mirror_faults

    if mirror:
        raise typer.Exit(FAULTY if show_mirror_faults(mirror, artifacts) else 0)
    raise typer.Exit(FAULTY if show_faults(store, artifacts) else 0)


@app.command()
def gc(
    older_than: Annotated[float, typer.Option(min=0, help="Days since a run last asked for an artifact.")] = 30.0,
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """Remove artifacts that nobody needs: old, not pinned, not of a --recipe, not in use, nor an input of such."""
    from flows.store_contents import collect_garbage

    collect_garbage(store, older_than, recipes, yes)


@app.command()
def pin(
    artifacts: ArtifactArguments = [],
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
    remove: Annotated[bool, typer.Option("--remove", help="No longer keep them.")] = False,
) -> None:
    """Keep artifacts, and what they were made from, whatever their age."""
    from flows.store_contents import pin_artifacts

    pin_artifacts(store, artifacts, recipes, not remove)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="A folder, which becomes a store.", show_default=False)],
    artifacts: ArtifactArguments = [],
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
) -> None:
    """Copy artifacts with what they were made from to another folder, verified on both sides."""
    from flows.store_contents import copy_artifacts

    raise typer.Exit(FAULTY if copy_artifacts(store, target, artifacts, recipes) else 0)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder that an export made, or any store.", show_default=False)],
    artifacts: ArtifactArguments = [],
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
) -> None:
    """Take artifacts of another store with what they were made from, verified on both sides."""
    from flows.store_contents import copy_artifacts

    raise typer.Exit(FAULTY if copy_artifacts(source, store, artifacts, recipes) else 0)


@app.command()
def push(
    mirror: MirrorOption,
    artifacts: ArtifactArguments = [],
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
    again: Annotated[
        bool, typer.Option("--again", help="Replace what is there, such as damage that was found.")
    ] = False,
) -> None:
    """Upload artifacts with what they were made from to a mirror; what stands there whole is left as it is."""
    from flows.store_mirror import push_artifacts

    raise typer.Exit(FAULTY if push_artifacts(store, mirror, artifacts, recipes, again) else 0)


@app.command()
def fetch(
    mirror: MirrorOption,
    artifacts: ArtifactArguments = [],
    recipes: RecipesOption = [],
    store: StoreOption = _DEFAULT,
) -> None:
    """Download artifacts with what they were made from out of a mirror, verified as those of the store are."""
    from flows.store_mirror import fetch_artifacts

    raise typer.Exit(FAULTY if fetch_artifacts(store, mirror, artifacts, recipes) else 0)
