"""The commands about a single model: ask it (`generate`), bring it in from another tool, hand it out to one."""

import sys
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
    app.command()(generate)
    app.command(name="import-gguf")(import_gguf)
    app.command()(export)


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint directory.", show_default=False)],
    prompt: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    english: Annotated[str, typer.Option(help="The English prompt, for --connection parallel or context.")] = "",
    connection: Annotated[
        str,
        typer.Option(
            help="transform, off, parallel, or context (the English prompt as text); pivot and pivot_context are the "
            "last two with the English of --translator."
        ),
    ] = "transform",
    translator: Annotated[str, typer.Option(help="Directory of a translator, for pivot and pivot_context.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="At most this many new tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy; above, sample.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    is_english: Annotated[bool, typer.Option(help="The prompt is English (for connection.english: identity).")] = False,
    language: Annotated[
        str,
        typer.Option(
            help="Of the prompt: a code such as swh or swh_Latn, for --translator and transform.intercept: "
            "per_language; for the latter also mean."
        ),
    ] = "",
) -> None:
    """Answer a prompt; the answer streams to standard output."""
    from cc_tuning.inference.answer_one import GenerationRequest, generate_text

    if translator or connection.startswith("pivot"):  # which needs packages that an answer alone does not
        from cc_tuning.translation.pivot_prompts import with_pivot

        connection, english = with_pivot(connection, prompt, english, translator, language)
    request = GenerationRequest(
        checkpoint=checkpoint,
        prompt=prompt,
        english_prompt=english,
        connection=connection,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        is_english=is_english,
        language=language,
    )
    generate_text(request, sys.stdout)


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
