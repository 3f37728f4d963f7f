"""Answers with the Transform Matrix against the connection off, at several batch sizes, and against the authors' way.

Greedy, prompts of equal length, as many new tokens as the paper measured its 1.09 to 1.10 on (Ye et al. 2025, table 4).
The authors' way answers one prompt. A static cache, which transformers compiles for on a GPU, comes last: compiling
takes longer than everything before it.
"""

import statistics

import torch
from generation import answer_in_the_authors_way, answer_with, draw_prompts
from random_models import build_model
from timing import Timings, in_turn

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from gpu_parts.board import Board, release_memory
from gpu_parts.options import Options, Sizes

AUTHORS = "authors' way"


def measure_batch(name: str, model: CrossLingualModel, rows: int, cache: str, sizes: Sizes, board: Board) -> None:
    """One batch size: off, with the matrix, and for a single prompt the authors' way."""
    prompts = draw_prompts(model, rows, sizes.prompt)
    sides = {mode: answer_with(model, mode, prompts, sizes.new_tokens, cache) for mode in ("off", "transform")}
    if rows == 1 and cache == "dynamic":
        sides[AUTHORS] = answer_in_the_authors_way(model, prompts, sizes.new_tokens)
    timings = in_turn(sides, sizes.rounds, board.left / 8)
    report(f"{name}, batch {rows}, {cache} cache", timings, rows * sizes.new_tokens, board)


def report(name: str, timings: Timings, tokens: int, board: Board) -> None:
    """Tokens a second of each side, and what the matrix costs."""
    for side, rounds in timings.items():
        seconds = statistics.median(wall for wall, _ in rounds)
        board.add(f"{name}: {side}", seconds=seconds, tokens_per_second=tokens / seconds)
    for side in timings:
        if side != "transform":
            board.compare(name, timings, side, "transform")


def measure(options: Options, board: Board) -> None:
    """Every batch size of every model, then the static cache with the last model."""
    sizes = options.sizes
    for name in sizes.models:
        release_memory()
        model = CrossLingualModel.from_base(build_model(name, board.device, sizes.dtype), ConnectionConfig())
        model = model.to(board.device).eval()
        model.set_transform_matrix(torch.eye(model.config.hidden_size))
        for rows in sizes.batches:
            with board.attempted(f"{name}, batch {rows}"):
                measure_batch(name, model, rows, "dynamic", sizes, board)
        if name == sizes.models[-1]:
            with board.attempted(f"{name}, static cache"):
                measure_batch(name, model, 1, "static", sizes, board)
        del model
