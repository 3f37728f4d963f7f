"""Generation with the Transform Matrix against the same model with the connection off.

Greedy, a fixed number of new tokens. The paper reports 1.09 to 1.10 for 40 tokens (Ye et al. 2025, table 4).
"""

from collections.abc import Callable

import torch
from timing import compare, parser, report
from training_step import build_model

from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel


def answer_with(
    model: CrossLingualModel, connection: ConnectionMode, rows: int, prompt: int, new_tokens: int
) -> Callable[[], None]:
    """A function that generates `new_tokens` for `rows` random prompts."""
    ids = torch.randint(10, 32000, (rows, prompt), generator=torch.Generator().manual_seed(0)).to(model.device)
    mask = torch.ones_like(ids)

    def answer() -> None:
        output = model.generate(ids, mask, connection=connection, max_new_tokens=new_tokens, do_sample=False)
        assert output.shape == (rows, prompt + new_tokens)

    return answer


def main() -> None:
    options = parser(__doc__ or "", "generation", pairs=15)
    for name, value in {"rows": 1, "prompt": 256, "new-tokens": 40, "layers": 8, "hidden": 512}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)

    base = build_model(arguments.device, arguments.layers, arguments.hidden)
    model = CrossLingualModel.from_base(base, ConnectionConfig()).to(arguments.device).eval()
    model.set_transform_matrix(torch.eye(arguments.hidden))
    shape = (arguments.rows, arguments.prompt, arguments.new_tokens)
    figures = {
        "transform / off": compare(
            answer_with(model, "off", *shape), answer_with(model, "transform", *shape), arguments.pairs
        )
    }
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report("Generation: base is connection=off, new is connection=transform", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
