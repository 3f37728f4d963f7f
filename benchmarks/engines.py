"""Tokens a second of the engines: vLLM, transformers, and the authors' way, which answers prompts one by one.

Greedy answers with the Transform Matrix, to the same prompts, of different lengths. The engines run
in turn in one process tree, so a slow moment hits all of them; loading is not timed. Before anything is timed the
answers of the two engines are compared, token by token. vLLM answers in its own environment (`make vllm`).
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import authors_way
import torch
from random_models import SHAPES
from timing import Timings, in_turn, machine, parser, write_figures

from cc_tuning.inference.generating import generate_answers
from cc_tuning.inference.jobs import Generate
from cc_tuning.inference.prompts import Prompt, longest_first
from cc_tuning.inference.vllm.process import VllmProcess
from cc_tuning.inference.vllm.requests import answer_of, generation, switches_of
from cc_tuning.model import ConnectionMode, CrossLingualModel
from serving import ROOT, export_model

STOP_TOKEN = 1
"""In no prompt, and next to never what a random model writes; vLLM takes tokens of the vocabulary alone."""
Answers = list[list[int]]


def draw_prompts(number: int, longest: int, vocabulary: int) -> list[Prompt]:
    """Random prompts of half the longest length and more."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(longest // 2, longest + 1, (number,), generator=generator).tolist()
    return [
        Prompt(str(place), torch.randint(10, min(32000, vocabulary), (length,), generator=generator).tolist())
        for place, length in enumerate(lengths)
    ]


def by_vllm(
    vllm: VllmProcess, prompts: list[Prompt], request: Generate, connection: ConnectionMode = "transform"
) -> Answers:
    """As the engine vllm answers a shard."""
    asked = [generation(prompt, request, switches_of(prompt, connection, "transform")) for prompt in prompts]
    return [answer_of(*pair).token_ids for pair in zip(asked, vllm.ask(asked), strict=True)]


def by_transformers(
    model: CrossLingualModel,
    prompts: list[Prompt],
    request: Generate,
    rows: int,
    connection: ConnectionMode = "transform",
) -> Answers:
    """As the engine transformers answers a shard."""
    answers: dict[int, list[int]] = {}
    for batch in longest_first([len(prompt.input_ids) for prompt in prompts], rows):
        made = generate_answers(model, [prompts[place] for place in batch], connection, request)
        answers |= {place: answer.token_ids for place, answer in zip(batch, made, strict=True)}
    return [answers[place] for place in range(len(prompts))]


def by_authors(model: CrossLingualModel, prompts: list[Prompt], new_tokens: int) -> Answers:
    """One prompt after the other."""
    ids = (torch.tensor(prompt.input_ids, device=model.device) for prompt in prompts)
    return [authors_way.answer(model, prompt, new_tokens) for prompt in ids]


def show(timings: Timings, tokens: Mapping[str, int]) -> dict[str, float]:
    """Print tokens a second of each engine, medians over rounds, and how often that is the authors' way."""
    speeds = {name: tokens[name] / statistics.median(wall for wall, _ in seconds) for name, seconds in timings.items()}
    print(f"{'':<20}{'new tokens/s':>14}{'to the authors way':>20}")
    for name, speed in speeds.items():
        print(f"{name:<20}{speed:>14.1f}{speed / speeds['authors way']:>20.2f}")
    return speeds


def main() -> None:
    options = parser(__doc__ or "", "engines", pairs=3)
    options.add_argument("--python", default=os.environ.get("CC_TUNING_VLLM_PYTHON", str(ROOT / ".vllm/bin/python")))
    options.add_argument("--shape", choices=sorted(set(SHAPES) - {"tiny"}), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    options.add_argument("--prompts", type=int, default=64)
    options.add_argument("--loop-prompts", type=int, default=8, help="prompts for the authors' way, which is slow")
    options.add_argument("--longest", type=int, default=200, help="tokens of the longest prompt")
    options.add_argument("--new-tokens", type=int, default=40)
    options.add_argument("--rows", type=int, default=16, help="prompts of a batch of transformers")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    request = Generate(max_new_tokens=arguments.new_tokens, stop_token_ids=(STOP_TOKEN,))

    with tempfile.TemporaryDirectory() as name:
        served = export_model(Path(name), arguments.shape, arguments.device, arguments.dtype)
        model = CrossLingualModel.from_pretrained(Path(name) / "checkpoint", getattr(torch, arguments.dtype))
        model.to(arguments.device)
        prompts = draw_prompts(arguments.prompts, arguments.longest, model.config.vocab_size)
        room = {"dtype": arguments.dtype, "max_model_len": arguments.longest + arguments.new_tokens}
        vllm = VllmProcess(Path(arguments.python), served, room, arguments.threads)
        sides: dict[str, Callable[[], Answers]] = {
            "vLLM": lambda: by_vllm(vllm, prompts, request),
            "transformers": lambda: by_transformers(model, prompts, request, arguments.rows),
            "authors way": lambda: by_authors(model, prompts[: arguments.loop_prompts], arguments.new_tokens),
        }
        answers = {name: answer() for name, answer in sides.items()}
        equal = sum(one == other for one, other in zip(answers["vLLM"], answers["transformers"], strict=True))
        timings = in_turn(sides, arguments.pairs, seconds=3600)
        vllm.close()

    print(f"{equal} of {len(prompts)} answers of vLLM and transformers are equal, token by token")
    tokens = {name: sum(map(len, of_engine)) for name, of_engine in answers.items()}
    speeds = show(timings, tokens)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    content = {"settings": settings, "machine": machine(), "tokens_per_second": speeds, "equal_answers": equal}
    write_figures(arguments.output, content)


if __name__ == "__main__":
    main()
