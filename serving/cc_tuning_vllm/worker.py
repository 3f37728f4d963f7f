"""Answers over pipes, for a process of another environment: `python -m cc_tuning_vllm.worker SETTINGS`.

SETTINGS is JSON: `model`, a directory; `arguments` of `vllm.LLM`. Each line of standard input is JSON, a list of
requests; each is answered by one line of JSON on standard output, of the answers in the same order. The first line
tells the version of vLLM. What vLLM refuses is a line too, `{"refused": why}`, and ends the process. Whatever libraries
print goes to standard error. The process ends with its input.

A request has `prompt` (token ids), `max_tokens`, `temperature`, `top_p`, `seed`, `stop_token_ids`, `extra_args`,
`scored_from` and `asked_ids`. An answer has `token_ids`; `scored`, the log-probability and the rank of each prompt
token from place `scored_from` on; and `log_probabilities` of `asked_ids` as the first token of the answer.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO


def reserved_output() -> TextIO:
    """Standard output for this module alone; what others print to it goes to standard error from here on."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


def arguments_here(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `vllm.LLM`, with what a machine without a GPU needs.

    There compiling takes minutes, and a seeded request whose prompt is read in chunks ends vLLM 0.32.0: its V1 runner
    winds the generator back, which generators of a CPU cannot do.
    """
    from vllm.platforms import current_platform

    on_cpu = {"enforce_eager": True, "enable_chunked_prefill": False} if current_platform.is_cpu() else {}
    return {**on_cpu, "skip_tokenizer_init": True, "disable_log_stats": True, **arguments}


def sampling_of(request: Mapping[str, Any]) -> Any:
    """vLLM's parameters of one request; nothing of a model's own decoding defaults is used."""
    from vllm import SamplingParams

    asked = request["asked_ids"]
    return SamplingParams(
        max_tokens=request["max_tokens"],
        temperature=request["temperature"],
        top_p=request["top_p"],
        seed=request["seed"],
        stop_token_ids=request["stop_token_ids"],
        ignore_eos=True,
        detokenize=False,
        logprobs=len(asked) or None,
        logprob_token_ids=asked or None,
        prompt_logprobs=None if request["scored_from"] is None else 0,
        extra_args=request["extra_args"],
    )


def answers_to(llm: Any, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers, in the order of the requests."""
    outputs = llm.generate(
        [{"prompt_token_ids": request["prompt"]} for request in requests],
        [sampling_of(request) for request in requests],
        use_tqdm=False,
    )
    return [_answer(request, output) for request, output in zip(requests, outputs, strict=True)]


def _answer(request: Mapping[str, Any], output: Any) -> dict[str, Any]:
    first, place = output.outputs[0], request["scored_from"]
    scored = []
    if place is not None:
        for token, entries in zip(request["prompt"][place:], output.prompt_logprobs[place:], strict=True):
            scored.append([entries[token].logprob, entries[token].rank])
    asked = {str(token): first.logprobs[0][token].logprob for token in request["asked_ids"]}
    return {"token_ids": list(first.token_ids), "scored": scored, "log_probabilities": asked}


def main() -> None:
    """Answer until the input ends."""
    output = reserved_output()

    def tell(message: Any) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    # One process: the engine's core dies with whoever asks.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    settings = json.loads(sys.argv[1])
    try:
        import vllm
        from vllm import LLM

        tell({"vllm": vllm.__version__})
        llm = LLM(settings["model"], **arguments_here(settings["arguments"]))
        tell({"loaded": settings["model"]})
        for line in sys.stdin:
            tell(answers_to(llm, json.loads(line)))
    except Exception as error:  # in the words of vLLM, to the process that asked
        tell({"refused": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
