"""Generation through each form of the map against the same model with the connection off.

    python benchmarks/generation_maps.py --shape small --rows 16 --new-tokens 40

Greedy, a fixed number of new tokens. All forms and `off` are timed in turn, round after round, and a figure is the
median over rounds of a form's time to that of `off` in the same round. The maps are random: what a map costs is its
size, which is beside it, and that the prompt's last token is read twice.
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict

import torch
from generation import answer_with, draw_prompts
from random_models import SHAPES, build_model
from timing import Comparison, in_turn, machine, parser, summarised, write_figures

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix


def maps_of(layers: int, hidden_size: int, rank: int) -> dict[str, TransformMatrix]:
    """A random map of each form, with an intercept where the form is not the paper's."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) / shape[-2] ** 0.5

    width, intercept = layers * hidden_size, torch.zeros(layers, hidden_size)
    return {
        "layer, shared (the paper's)": TransformMatrix(drawn(hidden_size, hidden_size)),
        "layer, per layer": TransformMatrix(drawn(layers, hidden_size, hidden_size), intercept),
        "all layers": TransformMatrix(drawn(width, rank), intercept, drawn(rank, width), "all_layers"),
        "pooled": TransformMatrix(drawn(width - hidden_size, rank), intercept, drawn(rank, width), "pooled"),
    }


def with_map(model: CrossLingualModel, transform: TransformMatrix, answer: Callable[[], None]) -> Callable[[], None]:
    """`answer` through `transform`."""

    def through() -> None:
        model.set_transform(transform)
        answer()

    return through


def main() -> None:
    options = parser(__doc__ or "", "generation_maps", pairs=15)
    for name, value in {"rows": 16, "prompt": 256, "new-tokens": 40, "rank": 128}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--shape", choices=sorted(SHAPES), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    options.add_argument("--seconds", type=float, default=1800, help="no round begins after so many seconds")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    base = build_model(arguments.shape, arguments.device, arguments.dtype)
    model = CrossLingualModel.from_base(base, ConnectionConfig()).to(arguments.device).eval()
    maps = maps_of(model.config.num_hidden_layers, model.config.hidden_size, arguments.rank)
    prompts = draw_prompts(model, arguments.rows, arguments.prompt)
    off, connected = (
        answer_with(model, connection, prompts, arguments.new_tokens, "dynamic") for connection in ("off", "transform")
    )
    sides = {"off": off} | {name: with_map(model, transform, connected) for name, transform in maps.items()}
    timings = in_turn(sides, arguments.pairs, arguments.seconds)
    figures: dict[str, Comparison] = {
        name: summarised(list(zip(timings["off"], timings[name], strict=True))) for name in maps
    }
    seconds = statistics.median(wall for wall, _ in timings["off"])
    title = f"Maps in generation, {arguments.rows} prompts of {arguments.prompt}, {arguments.new_tokens} new tokens"
    print(f"{title}; off takes {seconds:.2f} s")
    for name, of in figures.items():
        print(
            f"{name:<28}{of.ratio:>7.3f} ({of.ratio_low:.3f}-{of.ratio_high:.3f}), CPU time {of.cpu_ratio:.3f}, "
            f"{of.pairs} rounds, {maps[name].parameters:,} numbers"
        )
    settings = {name: str(value) for name, value in vars(arguments).items()}
    comparisons = {name: asdict(of) for name, of in figures.items()}
    content = {"title": title, "settings": settings, "machine": machine(), "comparisons": comparisons}
    write_figures(arguments.output, content)


if __name__ == "__main__":
    main()
