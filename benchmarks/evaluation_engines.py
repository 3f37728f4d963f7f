"""A whole evaluation by vLLM and by transformers in one store: what differs, a kill in the middle, and tokens a second.

The recipe is the quickstart's with one run and 250 items of two benchmarks in six languages (3,000). Everything is made
by the command `cc-tuning evaluate`. The one that asks vLLM is killed (SIGKILL) in the middle of its shards and started
again; a shard that was whole must not be written a second time. Then the same prompts are timed without the stage:
vLLM, transformers, and the authors' way, which answers one after the other. It ends with code 1 where an answer, its
score or whether it is greedy differs, a likelihood differs by more than 1e-4 nats a token, or a shard came twice.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import authors_way
import polars as pl
import psutil
import torch
from engines import Answers, by_transformers, by_vllm, show
from evaluation_differences import TIE, Differences, differences, gap_where_parted
from timing import RESULTS, in_turn, machine, write_figures

from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.requests import render_requests
from cc_tuning.inference.jobs import Generate
from cc_tuning.inference.prompts import Prompt
from cc_tuning.inference.vllm.process import VllmProcess
from cc_tuning.model import CrossLingualModel, load_checkpoint
from cc_tuning.model.serving_export import export_for_serving
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.runtime.sources import resolve
from cc_tuning.runtime.step import Step
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.store import ArtifactRef, ArtifactStore

ROOT = Path(__file__).resolve().parent.parent
RECIPE, RUN = ROOT / "recipes" / "quickstart.yaml", "cc-tuning"
CONTEXT = 512
"""Tokens of the longest prompt with its answer, in the timed part."""


def settings(options: argparse.Namespace, engine: str) -> list[str]:
    """What the recipe is overridden with."""
    return [
        f"runs=[{RUN}]",
        "evaluation.benchmarks=[MKQA,XNLI]",
        f"evaluation.engine={engine}",
        f"evaluation.items_per_language={options.items}",
        f"execution.store={options.store}",
        f"execution.threads={options.threads}",
        f"execution.vllm_python={options.python}",
    ]


def evaluate_step(options: argparse.Namespace, engine: str) -> Step:
    """The step that evaluates the run with an engine."""
    (run,) = plan_recipe(load_recipe(RECIPE, settings(options, engine)), sources_may_be_missing=True).runs
    return run.evaluate


def start(options: argparse.Namespace, engine: str) -> "subprocess.Popen[bytes]":
    """The command that evaluates with an engine, and makes what that needs."""
    overrides = [part for setting in settings(options, engine) for part in ("--set", setting)]
    command = [sys.executable, "-m", "flows.cli", "evaluate", str(RECIPE), "--run", RUN, *overrides]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)


def require_ended_well(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the command.

    Raises:
        RuntimeError: it failed.
    """
    if process.wait():
        raise RuntimeError(f"the evaluation ended with code {process.returncode}; its own lines are above")


def whole_shards(store: ArtifactStore, ref: ArtifactRef) -> dict[str, int]:
    """When each shard of an unfinished artifact was marked."""
    found = {}
    for marker in store.root.glob(f"{ref.stage}/{ref.fingerprint}.partial/work/**/*.done.json"):
        try:
            found["/".join(marker.parts[-3:])] = marker.stat().st_mtime_ns
        except FileNotFoundError:  # the stage has put its shards together
            continue
    return found


def evaluate_with_a_kill(options: argparse.Namespace, store: ArtifactStore, step: Step) -> dict[str, int]:
    """Evaluate with vLLM, killed in the middle; how many shards there were, were there when killed, and came twice."""
    process = start(options, "vllm")
    while len(whole_shards(store, step.ref)) < options.kill_after:
        if process.poll() is not None:
            raise RuntimeError(f"the evaluation ended with code {process.returncode} before it was killed")
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=120)
    there = whole_shards(store, step.ref)
    process, seen, twice = start(options, "vllm"), dict(there), set[str]()
    while process.poll() is None:
        for name, marked in whole_shards(store, step.ref).items():
            if seen.setdefault(name, marked) != marked:
                twice.add(name)
        time.sleep(0.02)
    require_ended_well(process)
    return {"shards": len(seen), "at_the_kill": len(there), "twice": len(twice), "left_alive": len(alive)}


@dataclass(frozen=True)
class Asked:
    """The run's model by both engines, and the prompts of all items by (benchmark, language, item)."""

    model: CrossLingualModel
    vllm: VllmProcess
    prompts: dict[tuple[str, str, str], Prompt]
    request: Generate

    def parted_by(self, parted: pl.DataFrame) -> list[float]:
        """The gap between the two tokens with which each of the answers parts, in nats; asked of both engines again,
        and left out where they then agree."""
        gaps = []
        for connection, *key in parted.iter_rows():
            prompt = self.prompts[tuple(key)]
            (one,) = by_vllm(self.vllm, [prompt], self.request, connection)
            (other,) = by_transformers(self.model, [prompt], self.request, 1, connection)
            if one != other:
                gaps.append(gap_where_parted(self.model, prompt, connection, one, other))
        return gaps

    def timed(self, prompts: Sequence[Prompt], loop: int, rows: int, rounds: int) -> dict[str, float]:
        """Tokens a second of the engines, and of the authors' way for the first `loop` prompts."""
        known = by_transformers(self.model, list(prompts[:loop]), self.request, rows)

        def authors() -> Answers:
            # As many tokens as the other two compute: the one that ends the turn too.
            ids = [torch.tensor(prompt.input_ids) for prompt in prompts[:loop]]
            lengths = [min(len(answer) + 1, self.request.max_new_tokens) for answer in known]
            return [authors_way.answer(self.model, *pair) for pair in zip(ids, lengths, strict=True)]

        sides: dict[str, Callable[[], Answers]] = {
            "vLLM": lambda: by_vllm(self.vllm, list(prompts), self.request),
            "transformers": lambda: by_transformers(self.model, list(prompts), self.request, rows),
            "authors way": authors,
        }
        answers = {name: answer() for name, answer in sides.items()}
        most = self.request.max_new_tokens
        tokens = {name: sum(min(len(one) + 1, most) for one in made) for name, made in answers.items()}
        tokens["authors way"] = sum(map(len, answers["authors way"]))
        return show(in_turn(sides, rounds, seconds=3600), tokens)


def asked_again(options: argparse.Namespace, store: ArtifactStore, step: Step, folder: Path) -> Asked:
    """What the stage was given, loaded here."""
    places = {name: resolve(source, store)[0].path for name, source in step.inputs.items()}
    recipe = load_recipe(RECIPE, settings(options, "vllm"))
    chat = ChatPrompts(load_tokenizer(places["checkpoint"]))
    items = select_items(load_items(places["items"]).items, recipe.evaluation.benchmarks, (), options.items)
    new_tokens = recipe.evaluation.max_new_tokens
    rows = render_requests(
        items, chat, with_english=True, context_tokens=CONTEXT, max_new_tokens=lambda _: new_tokens
    ).rows
    columns = rows.select("benchmark", "language", "item_id", "input_ids", "english_input_ids").iter_rows()
    prompts = {(one, two, three): Prompt(three, ids, english) for one, two, three, ids, english in columns}
    matrix = places.get("transform")
    model = load_checkpoint(places["checkpoint"], torch.float32, torch.device("cpu"), matrix)
    assert isinstance(model, CrossLingualModel)
    export_for_serving(places["checkpoint"], folder / "served", matrix)
    room = {"dtype": "float32", "max_model_len": CONTEXT}
    vllm = VllmProcess(Path(options.python), folder / "served", room, options.threads)
    request = Generate(max_new_tokens=new_tokens, stop_token_ids=chat.stop_token_ids)
    return Asked(model, vllm, prompts, request)


def print_differences(found: Differences, gaps: Sequence[float]) -> None:
    """The tables for a reader."""
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(found.answers, found.likelihoods, found.scores, sep="\n")
    ties = sum(gap < TIE for gap in gaps)
    print(f"{found.parted.height} answers differ; asked again {len(gaps)}, {ties} of them by less than {TIE} nats")
    print("no difference beyond rounding" if found.are_none else "THEY DIFFER")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--python", default=os.environ.get("CC_TUNING_VLLM_PYTHON", str(ROOT / ".vllm/bin/python")))
    options.add_argument("--store", type=Path, help="a folder to keep, or to go on with; else a temporary one")
    options.add_argument("--items", type=int, default=1511, help="of each benchmark and language, at most")
    options.add_argument("--kill-after", type=int, default=40, help="shards")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--prompts", type=int, default=512, help="of MKQA, in the timed part")
    options.add_argument("--loop-prompts", type=int, default=64, help="of these, for the authors' way")
    options.add_argument("--rows", type=int, default=64, help="prompts of a batch of transformers")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--output", type=Path, default=RESULTS / "evaluation_engines.json", help="JSON file")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; vLLM takes a share of the machine's memory otherwise

    with tempfile.TemporaryDirectory() as name:
        arguments.store = (arguments.store or Path(name) / "store").absolute()
        store = ArtifactStore(arguments.store)
        steps = {engine: evaluate_step(arguments, engine) for engine in ("transformers", "vllm")}
        require_ended_well(start(arguments, "transformers"))
        kill = evaluate_with_a_kill(arguments, store, steps["vllm"])
        found = differences(*(store.folder(step.ref) for step in steps.values()))
        asked = asked_again(arguments, store, steps["vllm"], Path(name))
        gaps = asked.parted_by(found.parted)
        of_mkqa = [prompt for (benchmark, *_), prompt in asked.prompts.items() if benchmark == "MKQA"]
        stride = max(1, len(of_mkqa) // arguments.prompts)
        speeds = asked.timed(of_mkqa[::stride], arguments.loop_prompts, arguments.rows, arguments.rounds)
        asked.vllm.close()

    print_differences(found, gaps)
    print(", ".join(f"{name} {number}" for name, number in kill.items()))
    content: dict[str, Any] = {
        "settings": {name: str(value) for name, value in vars(arguments).items()},
        "machine": machine(),
        "kill": kill,
        "answers": found.answers.to_dicts(),
        "likelihoods": found.likelihoods.to_dicts(),
        "scores": found.scores.to_dicts(),
        "gaps": gaps,
        "tokens_per_second": speeds,
    }
    write_figures(arguments.output, content)
    return 0 if found.are_none and not kill["twice"] else 1


if __name__ == "__main__":
    sys.exit(main())
