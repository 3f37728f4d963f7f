"""Answers of vLLM for a job file: run by the interpreter of vLLM's environment, which has nothing of this project.

The job: `model`, `arguments` of `vllm.LLM`, and `rounds`, each a list of requests with `prompt` ids, `extra_args` and
`max_tokens`. A round is one call of `generate`, so its requests share steps; a later round finds what earlier ones left
in the prefix cache. A round can ask for beam search too. With `attempts`, a list of arguments, each is tried in turn
and nothing is asked. What vLLM refuses is an answer: its error's text.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def answer(llm: Any, requests: list[dict[str, Any]]) -> Any:
    """The answers of one round."""
    from vllm import SamplingParams
    from vllm.sampling_params import BeamSearchParams

    prompts = [{"prompt_token_ids": request["prompt"]} for request in requests]
    try:
        if any(request.get("beam_search") for request in requests):
            llm.beam_search(prompts, BeamSearchParams(beam_width=2, max_tokens=4))
        parameters = [
            SamplingParams(
                temperature=0,
                max_tokens=request.get("max_tokens", 24),
                logprobs=-1,
                extra_args=request.get("extra_args"),
            )
            for request in requests
        ]
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
    except Exception as error:  # the text is the answer
        return {"error": str(error)}
    return [
        {
            "token_ids": list(output.outputs[0].token_ids),
            "first": {str(token): entry.logprob for token, entry in output.outputs[0].logprobs[0].items()},
            "cached": output.num_cached_tokens,
        }
        for output in outputs
    ]


def main() -> None:
    """Answer the job file that is the first argument into the file that is the second."""
    job = json.loads(Path(sys.argv[1]).read_text())
    from prometheus_client import REGISTRY
    from vllm import LLM

    def start(arguments: dict[str, Any]) -> tuple[Any, str]:
        try:
            return LLM(job["model"], **arguments), ""
        except Exception as error:
            return None, str(error)

    if attempts := job.get("attempts"):
        Path(sys.argv[2]).write_text(json.dumps([start(job["arguments"] | more)[1] for more in attempts]))
        return
    llm, error = start(job["arguments"])
    if error:
        raise SystemExit(error)
    answers = [answer(llm, requests) for requests in job["rounds"]]
    counted = {metric.name: metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}
    counted |= {
        " ".join([sample.name, *([sample.labels["mode"]] if "mode" in sample.labels else [])]): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if metric.name.startswith("cc_tuning:")
    }
    Path(sys.argv[2]).write_text(json.dumps({"rounds": answers, "counted": counted}))


if __name__ == "__main__":
    main()
