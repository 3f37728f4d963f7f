"""The commands that bring models in from other tools and hand them out to others: `import-gguf` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import say

# As in `flows.cli`, a command imports its work when it is called.

DirectoryArgument = Annotated[
    Path, typer.Argument(help="A folder that is not there yet, or empty.", show_default=False)
]


def add_model_commands(app: typer.Typer) -> None:
    """Give `app` the commands of this module."""
    app.command(name="import-gguf")(import_gguf)
    app.command()(export)


def import_gguf(
    file: Annotated[Path, typer.Argument(help="A GGUF file.", show_default=False)],
    directory: DirectoryArgument,
    dtype: Annotated[str, typer.Option(help="Of the weights: float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Write the model of a GGUF file as an ordinary model directory, to be a recipe's `model.base`."""
    from cc_tuning.model.gguf_import import import_gguf as write_model

    model = write_model(file, directory, dtype)
    template = "with a chat template" if model.has_chat_template else "without a chat template"
    say(
        f"{model.name}: {model.family}, {model.parameters:,} weights, {template}\n"
        f"Licence: {model.licence}; read it before you publish anything made from it\nModel: {directory}"
    )


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint directory.", show_default=False)],
    directory: DirectoryArgument,
    transform_matrix: Annotated[
        Path | None, typer.Option(help="The file of a transform artifact, where the checkpoint has no map.")
    ] = None,
) -> None:
    """Write a checkpoint as a directory that vLLM serves, connection included; docs/serving.md goes on from there."""
    from cc_tuning.model.serving_export import export_for_serving

    made = export_for_serving(checkpoint, directory, transform_matrix)
    say(
        f"{made.architecture} with {made.parameters:,} numbers of the connection; answers end at token ids "
        f"{', '.join(map(str, made.stop_token_ids))}\nModel: {directory}"
    )
