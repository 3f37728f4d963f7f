"""Timings of vLLM's steps for `serving.py`; run by the interpreter of vLLM's environment.

The method in which a step's forward pass runs is replaced by one that calls it with a clock, and so is the plugin's
part of it; both in this process alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"


class Clock:
    """Wall and CPU seconds spent in a function since the last `taken`."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed, a GPU's work included."""
        import torch

        def timed(*args: Any, **named: Any) -> Any:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            wall, cpu = time.perf_counter(), time.process_time()
            output = function(*args, **named)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._wall += time.perf_counter() - wall
            self._cpu += time.process_time() - cpu
            return output

        return timed

    def taken(self) -> tuple[float, float]:
        """The seconds, which begin anew."""
        seconds = (self._wall, self._cpu)
        self._wall = self._cpu = 0.0
        return seconds


def main() -> None:
    """Time the job in the file that is the first argument, into the file that is the second."""
    job = json.loads(Path(sys.argv[1]).read_text())
    from cc_tuning_vllm import model_runner
    from vllm import LLM, SamplingParams
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    whole, part = Clock(), Clock()
    tokens = max(job["rows"]) * job["prompt"]
    llm = LLM(
        job["model"],
        dtype=job["dtype"],
        enforce_eager=not job["compiled"],
        enable_prefix_caching=False,  # a prompt is asked again and again
        max_model_len=job["prompt"] + max(job["new_tokens"]) + 1,
        max_num_batched_tokens=max(tokens, 2048),
        kv_cache_memory_bytes=1 << 30,
    )
    GPUModelRunner._model_forward = whole.around(GPUModelRunner._model_forward)
    model_runner._connect = part.around(model_runner._connect)

    def run(rows: int, new_tokens: int, connection: str) -> tuple[tuple[float, float], tuple[float, float]]:
        prompts = [
            {"prompt_token_ids": [17 + (row * 31 + place) % 200 for place in range(job["prompt"])]}
            for row in range(rows)
        ]
        how = SamplingParams(
            temperature=0, max_tokens=new_tokens, ignore_eos=True, extra_args={"connection": connection}
        )
        outputs = llm.generate(prompts, how, use_tqdm=False)
        assert all(len(output.outputs[0].token_ids) == new_tokens for output in outputs)
        return whole.taken(), part.taken()

    timings: dict[str, list[Any]] = {}
    for rows in job["rows"]:
        for new_tokens in job["new_tokens"]:
            run(rows, new_tokens, "off")
            run(rows, new_tokens, "transform")
            pairs = timings[f"{new_tokens} tokens, batch {rows}"] = []
            for number in range(job["pairs"]):
                order = ("off", "transform") if number % 2 else ("transform", "off")
                taken = {connection: run(rows, new_tokens, connection) for connection in order}
                pairs.append((taken["off"][0], *taken["transform"]))
    Path(sys.argv[2]).write_text(json.dumps(timings))


if __name__ == "__main__":
    main()
