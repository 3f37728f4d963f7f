"""A server under load: every greedy answer against the reference, latencies, memory over time, and its own counts.

A tiny random model, exported and served by `cc-tuning-vllm serve` in a process of its own (`make vllm`); many clients
at the same time, with prompts, turns, answers and switches of all kinds, as streams and not, some of which go away in
the middle. The answers are those of the transformers engine, computed before.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from served_process import KEY, Memory, Server, serving, watched_memory
from serving_clients import SHARES, Outcome, ask_together
from serving_questions import (
    LONGEST,
    QUESTION_MODES,
    Conversation,
    export_tiny_model,
    prepare_conversations,
    share_changed,
)
from timing import RESULTS, machine, write_figures

from cc_tuning.model.serving_export import SECTION, SERVED_CONNECTION_FILE, SERVED_INDEX
from data_contracts.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
MODES = ("transform", "off", "identity", "parallel")
ENGINE = (
    *("--dtype", "float32", "--enforce-eager", "--max-model-len", str(LONGEST), "--block-size", "32"),
    *("--kv-cache-memory-bytes", str(48 << 20), "--disable-uvicorn-access-log"),
)
"""The cache holds about 24,000 tokens, so that many long prompts at a time preempt one another."""


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the tail, in seconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(seconds)}


def latencies(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Percentiles of the requests that waited for their answer."""
    measured = {
        "whole answer": [one.seconds for one in outcomes if one.behaviour == "whole"],
        "stream, first token": [one.to_first for one in outcomes if one.behaviour == "stream"],
        "stream, last token": [one.seconds for one in outcomes if one.behaviour == "stream"],
        "refusal": [one.seconds for one in outcomes if one.behaviour == "wrong switch"],
    }
    return {name: percentiles(seconds) for name, seconds in measured.items() if len(seconds) > 1}


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """The slope of the line through samples, in MiB a minute; 0 of fewer than two."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope * 60 if len(samples) > 1 else 0.0


def memory_over_time(samples: Sequence[tuple[float, Memory]]) -> dict[str, Any]:
    """MiB at the beginning, at minute 1, in the middle and at the end, and how fast they grew in the second half, in
    MiB a minute: at first every new shape of a batch and every new prefix takes memory once."""
    totals = [(seconds, sum(memory)) for seconds, memory in samples]
    middle = len(samples) // 2
    at_minute_1 = next((total for seconds, total in totals if seconds >= 60), totals[middle][1])
    parts = {
        name: growth([(seconds, getattr(memory, name)) for seconds, memory in samples[middle:]])
        for name in Memory._fields
    }
    return {
        "begin": totals[0][1],
        "minute_1": at_minute_1,
        "middle": totals[middle][1],
        "end": totals[-1][1],
        "growth_per_minute_in_second_half": {**parts, "all": growth(totals[middle:])},
        "samples": samples,
    }


def counted_against_sent(before: dict[str, float], after: dict[str, float], outcomes: Sequence[Outcome]) -> Any:
    """What the server counted by mode, beside what it was sent: answers begun, and those that were left before."""
    refused = ("wrong switch",)
    begun = Counter(one.mode for one in outcomes if one.behaviour not in ("leaves early", *refused))
    left = Counter(one.mode for one in outcomes if one.behaviour == "leaves early")
    names = {mode: f"cc_tuning:prompts_total {mode}" for mode in MODES}
    counts = {
        mode: {"counted": int(after[name] - before[name]), "begun": begun[mode], "left_before": left[mode]}
        for mode, name in names.items()
    }
    right = all(each["begun"] <= each["counted"] <= each["begun"] + each["left_before"] for each in counts.values())
    return {"by_mode": counts, "right": right}


def load(
    server: Server, model: str, conversations: Sequence[Conversation], clients: int, seconds: float, *, connected: bool
) -> Any:
    """The figures of one load."""
    shares = SHARES if connected else {how: share for how, share in SHARES.items() if how != "wrong switch"}
    before = server.metrics()
    with watched_memory(server, every_seconds=min(5.0, seconds / 8)) as samples:
        outcomes = asyncio.run(ask_together(server.address, KEY, model, conversations, clients, seconds, shares))
    server.wait_until_idle()
    after = server.metrics()
    problems = [one.problem for one in outcomes if one.problem]
    answered = [one for one in outcomes if one.behaviour in ("whole", "stream")]
    return {
        "requests": len(outcomes),
        "by_behaviour": Counter(one.behaviour for one in outcomes),
        "answers_compared": len(answered),
        "problems": len(problems),
        "first_problems": problems[:20],
        "answers_per_second": len(answered) / seconds,
        "tokens_per_second": sum(one.tokens for one in outcomes) / seconds,
        "latency_seconds": latencies(outcomes),
        "memory_mebibytes": memory_over_time(samples),
        "metrics": counted_against_sent(before, after, outcomes) if connected else {"by_mode": {}, "right": True},
        "connection_seconds": after.get("cc_tuning:connection_seconds_total", 0.0),
        "preemptions": after["vllm:num_preemptions_total"],
        "prefix_cache_hits": after["vllm:prefix_cache_hits_total"],
        "cache_in_use_afterwards": after["vllm:kv_cache_usage_perc"],
    }


def without_connection(directory: Path, checkpoint: Path, destination: Path) -> Path:
    """The exported model as an ordinary one, its padded heads included, that vLLM loads by itself.

    The checkpoint will not do: vLLM has not every size of heads on a CPU.
    """
    shutil.copytree(directory, destination)
    (destination / SERVED_CONNECTION_FILE).unlink()
    index = read_json(directory / SERVED_INDEX)
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != SERVED_CONNECTION_FILE}
    write_json(destination / SERVED_INDEX, index)
    config = {key: value for key, value in read_json(directory / "config.json").items() if key != SECTION}
    architectures = read_json(checkpoint / "config.json")["architectures"]
    write_json(destination / "config.json", config | {"architectures": architectures})
    return destination


def print_table(figures: dict[str, Any]) -> None:
    """The figures for a reader."""
    print(f"{figures['requests']} requests, {figures['answers_compared']} answers compared, ", end="")
    print(f"{figures['problems']} errors or wrong answers; {figures['answers_per_second']:.1f} answers a second")
    for name, values in figures["latency_seconds"].items():
        print(f"{name:<22}" + "".join(f"{key:>6} {value:>7.3f} s" for key, value in values.items()))
    memory = figures["memory_mebibytes"]
    print(f"memory {memory['begin']:.0f} MiB, minute 1 {memory['minute_1']:.0f}, ", end="")
    print(f"middle {memory['middle']:.0f}, end {memory['end']:.0f}; MiB a minute in the second half:", end="")
    print("".join(f" {name} {slope:+.1f}" for name, slope in memory["growth_per_minute_in_second_half"].items()))
    for mode, counts in figures["metrics"]["by_mode"].items():
        print(f"{mode:<22}" + "".join(f"{name:>14} {value:>6}" for name, value in counts.items()))
    print(f"{figures['connection_seconds']:.1f} s in the connection, {figures['preemptions']:.0f} preemptions")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--conversations", type=int, default=120, help="different ones, of one to three turns")
    options.add_argument("--control", action="store_true", help="vLLM's own server without the plugin, for its memory")
    options.add_argument("--python", default=os.environ.get("CC_TUNING_VLLM_PYTHON", str(ROOT / ".vllm/bin/python")))
    options.add_argument("--output", type=Path, default=RESULTS / "serving_load.json", help="JSON file")
    arguments = options.parse_args()

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        checkpoint, directory = export_tiny_model(Path(name))
        modes = ("off",) if arguments.control else QUESTION_MODES
        conversations = prepare_conversations(checkpoint, arguments.conversations, modes)
        changed = 0.0 if arguments.control else share_changed(checkpoint, conversations)
        connected, log = not arguments.control, Path(name) / "server.log"
        model = directory if connected else without_connection(directory, checkpoint, Path(name) / "control")
        with serving(arguments.python, model, log, ENGINE, with_plugin=connected) as server:
            figures = load(
                server, str(model), conversations, arguments.clients, arguments.minutes * 60, connected=connected
            )
    questions = [question for conversation in conversations for question in conversation]
    figures |= {
        "questions": len(questions),
        "questions_left_out": sum(not question.is_decided for question in questions),
        "changed_by_the_connection": changed,
    }
    print_table(figures)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    write_figures(arguments.output, {"settings": settings, "machine": machine(), "figures": figures})
    return 1 if figures["problems"] or not figures["metrics"]["right"] else 0


if __name__ == "__main__":
    sys.exit(main())
