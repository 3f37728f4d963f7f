"""What vLLM is asked, and what is made of its answers; no vLLM is needed."""

import math
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cc_tuning.errors import ConfigError, EvaluationFailed
from cc_tuning.inference.jobs import Generate, Sampling
from cc_tuning.inference.prompts import Prompt
from cc_tuning.inference.vllm.address import Patience, VllmAddresses
from cc_tuning.inference.vllm.process import VllmProcess, check_version
from cc_tuning.inference.vllm.requests import (
    MOST_ASKED_IDS,
    VllmAnswer,
    VllmRequest,
    answer_of,
    generation,
    likelihood_requests,
    scores_of,
    switches_of,
)
from cc_tuning.inference.vllm.served import dtype_of, name_of_model, needed_context

PROMPT = Prompt("item", [5, 6, 7])
CANDIDATES = [[1], [2], [3, 1], [3, 2], [3, 1, 2], [1]]


def log_probability(before: tuple[int, ...], token: int) -> float:
    """Of a made-up model of four tokens: each has weight 1 + (token + sum of those before) mod 4, of 10 in all."""
    return math.log((1 + (token + sum(before)) % 4) / 10)


def said_by_made_up_model(request: VllmRequest) -> VllmAnswer:
    """What vLLM would say if it had loaded that model."""
    place = len(request.prompt) if request.scored_from is None else request.scored_from
    scored = []
    for end in range(place, len(request.prompt)):
        of_all = [log_probability(request.prompt[:end], token) for token in range(4)]
        own = of_all[request.prompt[end]]
        scored.append((own, sum(other >= own for other in of_all)))
    last = {token: log_probability(request.prompt, token) for token in range(4)}
    asked = {token: last[token] for token in request.asked_ids}
    return VllmAnswer(token_ids=(max(last, key=last.__getitem__),), scored=tuple(scored), log_probabilities=asked)


def test_the_score_of_a_candidate_is_the_sum_over_its_tokens() -> None:
    asked = likelihood_requests(PROMPT, CANDIDATES, None)
    scores = scores_of(CANDIDATES, asked, [said_by_made_up_model(request) for request in asked], 3)
    for ids, score in zip(CANDIDATES, scores, strict=True):
        steps = [((5, 6, 7, *ids[:end]), ids[end]) for end in range(len(ids))]
        assert score.log_likelihood == pytest.approx(sum(log_probability(*step) for step in steps))
        best = [max(range(4), key=lambda token: log_probability(before, token)) for before, _ in steps]
        assert score.is_greedy == (best == list(ids))
        assert score.tokens == len(ids)


def test_candidates_that_differ_in_their_last_token_alone_are_one_request() -> None:
    asked = likelihood_requests(PROMPT, CANDIDATES, {"connection": "transform"})
    assert {(request.prompt[3:], request.asked_ids) for request in asked} == {
        ((), (1, 2)), ((3,), (1, 2)), ((3, 1), (2,)),
    }  # fmt: skip
    assert [request.extra_args for request in asked if not request.scored_from] == [{"connection": "transform"}]
    told = [(request.extra_args or {})["prompt_length"] for request in asked if request.scored_from]
    assert told == [3, 3]


def test_more_options_than_a_server_allows_in_one_request_are_several() -> None:
    options = [[token] for token in range(MOST_ASKED_IDS + 3)]
    asked = likelihood_requests(PROMPT, options, None)
    assert [len(request.asked_ids) for request in asked] == [MOST_ASKED_IDS, 3]


def test_an_answer_ends_before_the_first_stop_token() -> None:
    request = generation(PROMPT, Generate(max_new_tokens=4, stop_token_ids=(9, 2)), None)
    assert answer_of(request, VllmAnswer(token_ids=(4, 5, 9))).token_ids == [4, 5]
    assert answer_of(request, VllmAnswer(token_ids=(4, 5, 9))).stopped
    assert not answer_of(request, VllmAnswer(token_ids=(4, 5, 6, 7))).stopped


def test_the_draws_of_a_prompt_depend_on_its_id_and_the_seed_alone() -> None:
    def seed(name: str, number: int) -> int | None:
        sampled = Generate(max_new_tokens=4, stop_token_ids=(2,), sampling=Sampling(seed=number))
        return generation(Prompt(name, [len(name)]), sampled, None).seed

    seeds = {seed(name, number) for name in ("a", "b") for number in (0, 1)}
    assert len(seeds) == 4
    assert seed("a", 0) in seeds
    assert all(one is not None and 0 <= one < 2**63 for one in seeds)


def test_english_prompts_keep_their_own_activations_where_the_checkpoint_says_so() -> None:
    english = Prompt("item", [5], is_english=True)
    assert switches_of(english, "transform", "identity") == {"connection": "identity"}
    assert switches_of(english, "transform", "transform") == {"connection": "transform"}
    assert switches_of(PROMPT, "transform", "identity") == {"connection": "transform"}
    assert switches_of(english, "off", "identity") == {"connection": "off"}


def test_another_items_english_prompt_is_sent_as_any_english_prompt() -> None:
    beside = Prompt("item", [5], [6, 7])
    assert switches_of(beside, "other", "transform") == switches_of(beside, "parallel", "transform")
    assert switches_of(beside, "other", "transform")["english"] == [6, 7]


def test_an_interpreter_that_is_not_there_or_lacks_vllm_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no interpreter is there; run `make vllm`"):
        VllmProcess(tmp_path / "python", tmp_path, {}, 1)
    with pytest.raises(ConfigError, match=r"cannot run vLLM with the plugin: .*`make vllm`"):
        VllmProcess(Path(sys.executable), tmp_path, {}, 1)


def test_another_version_of_vllm_is_refused_and_a_build_of_the_tested_one_is_not() -> None:
    check_version("0.32.0+cpu", Path("python"))
    with pytest.raises(ConfigError, match=r"has vLLM 0\.31\.0; tested is 0\.32\.0"):
        check_version("0.31.0", Path("python"))


def test_an_address_where_nothing_listens_is_given_up_after_its_tries() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it meanwhile
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EvaluationFailed, match=r"did not answer in 3 tries, last ConnectError"):
            VllmAddresses([address], "model", "NO_KEY", Patience(tries_at_start=3, first_wait_seconds=0.001))


def test_waits_double_to_a_minute() -> None:
    patience = Patience()
    assert [patience.wait_seconds(tried) for tried in (1, 2, 3, 7, 8)] == [1, 2, 4, 60, 60]


def test_a_models_name_changes_with_its_weights_and_not_with_its_place(tmp_path: Path) -> None:
    names = []
    for place, value in (("one", 1.0), ("two", 1.0), ("three", 2.0)):
        (tmp_path / place).mkdir()
        save_file({"weight": torch.tensor([value])}, tmp_path / place / "model.safetensors")
        (tmp_path / place / "config.json").write_text("{}")
        names.append(name_of_model(tmp_path / place))
    assert names[0] == names[1] != names[2]


def test_a_request_longer_than_the_context_is_refused(tiny_llama_directory: Path) -> None:
    fits = VllmRequest(prompt=(1,) * 4, max_tokens=3)
    assert needed_context(tiny_llama_directory, [fits]) == 7
    with pytest.raises(ConfigError, match=r"takes 1000003 tokens, and the context of .* is"):
        needed_context(tiny_llama_directory, [fits, VllmRequest(prompt=(1,) * 1_000_000, max_tokens=3)])


def test_weights_saved_in_float32_are_computed_in_float32(tiny_llama_directory: Path) -> None:
    assert dtype_of(tiny_llama_directory, "auto") == "float32"
    assert dtype_of(tiny_llama_directory, "bfloat16") == "bfloat16"
