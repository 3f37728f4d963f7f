"""Generation with the Transform Matrix against the same model with the connection off, and against the authors' way.

Greedy, a fixed number of new tokens. The paper reports 1.09 to 1.10 for 40 tokens (Ye et al. 2025, table 4). The
authors' way (`authors_way.py`) answers the same prompts one by one.
"""

from collections.abc import Callable

import authors_way
import torch
from random_models import SHAPES, build_model
from timing import compare, parser, report
from torch import Tensor

from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel


def draw_prompts(model: CrossLingualModel, rows: int, length: int) -> Tensor:
    """Random token ids `[rows, length]`, the same in every call."""
    highest = min(32000, model.config.vocab_size)
    return torch.randint(10, highest, (rows, length), generator=torch.Generator().manual_seed(0)).to(model.device)


def answer_with(
    model: CrossLingualModel, connection: ConnectionMode, prompts: Tensor, new_tokens: int, cache: str
) -> Callable[[], None]:
    """A function that generates `new_tokens` for all prompts at once."""
    mask = torch.ones_like(prompts)
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "cache_implementation": cache}

    def answer() -> None:
        output = model.generate(prompts, mask, connection=connection, **settings)
        assert output.shape == (prompts.shape[0], prompts.shape[1] + new_tokens)

    return answer


def answer_in_the_authors_way(model: CrossLingualModel, prompts: Tensor, new_tokens: int) -> Callable[[], None]:
    """A function that generates `new_tokens` for one prompt after the other."""

    def answer() -> None:
        for prompt in prompts:
            assert len(authors_way.answer(model, prompt, new_tokens)) == new_tokens

    return answer


def main() -> None:
    options = parser(__doc__ or "", "generation", pairs=15)
    for name, value in {"rows": 16, "prompt": 256, "new-tokens": 40}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--shape", choices=sorted(SHAPES), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    options.add_argument("--cache", choices=["dynamic", "static"], default="dynamic", help="static: compiled on a GPU")
    options.add_argument("--loop-pairs", type=int, default=5, help="pairs for the authors' way, which is slow")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)

    base = build_model(arguments.shape, arguments.device, arguments.dtype)
    model = CrossLingualModel.from_base(base, ConnectionConfig()).to(arguments.device).eval()
    model.set_transform_matrix(torch.eye(model.config.hidden_size))
    figures = {}
    for rows in sorted({1, arguments.rows}):
        shape = (draw_prompts(model, rows, arguments.prompt), arguments.new_tokens)
        off, transform = (answer_with(model, how, *shape, arguments.cache) for how in ("off", "transform"))
        figures[f"transform / off, batch {rows}"] = compare(off, transform, arguments.pairs)
    loop = answer_in_the_authors_way(model, *shape)
    against_loop = compare(loop, transform, arguments.loop_pairs, warm_up=1)
    figures[f"batch {arguments.rows} / authors' way"] = against_loop

    settings = {name: str(value) for name, value in vars(arguments).items()}
    title = "Generation: base is the connection off, or the authors' way; new is the transform"
    report(title, figures, settings, arguments.output)
    tokens = arguments.rows * arguments.new_tokens
    print(
        f"{tokens / against_loop.new_seconds:.0f} tokens/s at batch {arguments.rows}, "
        f"{tokens / against_loop.base_seconds:.0f} tokens/s in the authors' way: {1 / against_loop.ratio:.1f} times"
    )


if __name__ == "__main__":
    main()
