"""lm-eval's model `cc_tuning`: off it is lm-eval's own `hf`, on it is the method written out row by row."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cc_tuning.errors import ConfigError
from cc_tuning.model import ConnectionConfig, CrossLingualModel, load_checkpoint
from tests.checkpoints import save_connected_checkpoint, save_matrix, save_plain_checkpoint
from tests.inference.harness.local_tasks import ANSWERS, CHOICES, TEXTS, write_tasks
from tests.reference.connection import answer_row, connection_vector, run_row

lm_eval = pytest.importorskip("lm_eval", reason="needs the extra lmeval")
evaluator = pytest.importorskip("lm_eval.evaluator", reason="needs the extra lmeval")
tasks = pytest.importorskip("lm_eval.tasks", reason="needs the extra lmeval")
instances = pytest.importorskip("lm_eval.api.instance", reason="needs the extra lmeval")

HIDDEN = 32
REQUESTS = [
    ("What is the capital of Kenya?", " Mji"),
    ("Mji mkuu wa", " Kenya ni"),
    ("首都", " the capital is"),
    ("", "What"),
]


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    folder = tmp_path_factory.mktemp("connected")
    return save_connected_checkpoint(folder, tiny_llama_directory, tiny_tokenizer)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(1)) / HIDDEN**0.5
    return save_matrix(tmp_path_factory.mktemp("matrix") / "matrix.safetensors", drawn)


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def make_model(checkpoint: Path, connection: str, **arguments: Any) -> Any:
    from cc_tuning.inference.harness.lm_eval_model import ConnectedLM

    return ConnectedLM(checkpoint=str(checkpoint), connection=connection, device="cpu", **arguments)


def likelihood_requests(pairs: list[tuple[str, str]]) -> list[Any]:
    return [instances.Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]


def responses(model: Any, task: str, folder: Path) -> list[Any]:
    """What a model answered to each item of a task, in the order of the items."""
    manager = tasks.TaskManager(include_path=str(folder))
    results = evaluator.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0)
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]


def own_hf(checkpoint: Path, **arguments: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(checkpoint), device="cpu", **arguments)


def assert_equal_scores(own: Sequence[Any], expected: Sequence[Any]) -> None:
    """Items with a (log-likelihood, is greedy) for each of their options."""
    for mine, other in zip(own, expected, strict=True):
        assert [total for total, _ in mine] == pytest.approx([total for total, _ in other], rel=1e-5, abs=1e-5)
        assert [is_greedy for _, is_greedy in mine] == [is_greedy for _, is_greedy in other]


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_off_gives_the_likelihoods_of_lm_evals_own_model(
    checkpoint: Path, task_folder: Path, batch_size: int | str
) -> None:
    own = responses(make_model(checkpoint, "off", batch_size=batch_size, max_batch_size=16), CHOICES, task_folder)
    theirs = responses(own_hf(checkpoint, batch_size=4), CHOICES, task_folder)
    assert len(own) == len(theirs) == 100
    assert_equal_scores(own, theirs)


def test_off_writes_the_answers_of_lm_evals_own_model(checkpoint: Path, task_folder: Path) -> None:
    own = responses(make_model(checkpoint, "off", batch_size=8), ANSWERS, task_folder)
    theirs = responses(own_hf(checkpoint, batch_size=8), ANSWERS, task_folder)
    assert len(own) == 100
    assert own == theirs
    assert not any(stop in answer for (answer,) in own for stop in ("?", "K"))
    assert len({answer for (answer,) in own}) > 20


def test_a_checkpoint_without_a_connection_is_read_as_lm_eval_reads_it(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    folder = save_plain_checkpoint(tmp_path / "plain", tiny_llama_directory, tiny_tokenizer)
    own = responses(make_model(folder, "off", batch_size=8), ANSWERS, task_folder)
    assert own == responses(own_hf(folder, batch_size=8), ANSWERS, task_folder)


@pytest.mark.parametrize("connection", ["off", "transform"])
def test_whole_texts_are_scored_by_the_language_model_alone(
    checkpoint: Path, matrix: Path, task_folder: Path, connection: str, caplog: pytest.LogCaptureFixture
) -> None:
    transform = {} if connection == "off" else {"transform_matrix": str(matrix)}
    # A text longer than the model reads at once comes in several windows.
    with caplog.at_level(logging.WARNING):
        own = responses(make_model(checkpoint, connection, max_length=8, **transform), TEXTS, task_folder)
    theirs = responses(own_hf(checkpoint, max_length=8), TEXTS, task_folder)
    assert len(own) == 100
    assert [total for (total,) in own] == pytest.approx([total for (total,) in theirs], rel=1e-5, abs=1e-5)
    assert ("the connection is off for them" in caplog.text) == (connection == "transform")


def slow_score(
    model: CrossLingualModel, transform: torch.Tensor, context: list[int], continuation: list[int]
) -> tuple[float, bool]:
    weight = model.decision_maker.weight
    assert isinstance(weight, torch.Tensor)
    vector, _ = connection_vector(model.base, weight, transform, context, model.connection.offset)
    position = len(context) - 1 - model.connection.offset
    logits, _ = run_row(model.base, torch.tensor([*context, *continuation]), position, vector)
    steps = logits[len(context) - 1 : -1].log_softmax(-1)
    total = sum(float(step[token]) for step, token in zip(steps, continuation, strict=True))
    return total, steps.argmax(-1).tolist() == continuation


@torch.no_grad()
@pytest.mark.parametrize("connection", ["transform", "identity"])
def test_a_connected_likelihood_has_the_vector_at_the_last_context_token(
    checkpoint: Path, matrix: Path, connection: str
) -> None:
    transform = {"transform_matrix": str(matrix)} if connection == "transform" else {}
    lm = make_model(checkpoint, connection, batch_size=3, **transform)
    model = load_checkpoint(checkpoint, transform_matrix=matrix)
    assert isinstance(model, CrossLingualModel)
    assert isinstance(model.transform_matrix, torch.Tensor)
    used = model.transform_matrix if connection == "transform" else torch.eye(HIDDEN)
    scores = lm.loglikelihood(likelihood_requests(REQUESTS), disable_tqdm=True)
    for (context, continuation), (total, is_greedy) in zip(REQUESTS, scores, strict=True):
        ids = lm.tok_encode(context) if context else [lm.prefix_token_id]
        expected, greedy = slow_score(
            model, used, ids, lm.tok_encode(context + continuation)[len(ids) * bool(context) :]
        )
        assert total == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert is_greedy == greedy


@torch.no_grad()
def test_a_connected_answer_has_the_vector_at_the_last_context_token(checkpoint: Path, matrix: Path) -> None:
    lm = make_model(checkpoint, "transform", batch_size=4, transform_matrix=str(matrix))
    model = load_checkpoint(checkpoint, transform_matrix=matrix)
    assert isinstance(model, CrossLingualModel)
    weight, transform = model.decision_maker.weight, model.transform_matrix
    assert isinstance(weight, torch.Tensor)
    assert isinstance(transform, torch.Tensor)
    contexts = [context for context, _ in REQUESTS[:3]]
    wanted = {"until": [], "max_gen_toks": 5}
    asked = [
        instances.Instance("generate_until", {}, (context, wanted), place) for place, context in enumerate(contexts)
    ]
    answers = lm.generate_until(asked, disable_tqdm=True)
    for context, answer in zip(contexts, answers, strict=True):
        ids = lm.tok_encode(context)
        vector, _ = connection_vector(model.base, weight, transform, ids, 0)
        written = answer_row(model.base, ids, 0, 5, vector)
        stops = [place for place, token in enumerate(written) if token in model.generation_config.eos_token_id]
        assert answer == lm.tok_decode(written[: min(stops, default=5)])
    off = make_model(checkpoint, "off", batch_size=4).generate_until(asked, disable_tqdm=True)
    assert answers != off


def test_a_batch_gives_what_each_request_gives_alone(checkpoint: Path, matrix: Path, task_folder: Path) -> None:
    many, one = (make_model(checkpoint, "transform", batch_size=size, transform_matrix=str(matrix)) for size in (16, 1))
    assert responses(many, ANSWERS, task_folder) == responses(one, ANSWERS, task_folder)
    assert_equal_scores(responses(many, CHOICES, task_folder), responses(one, CHOICES, task_folder))


def test_a_context_too_long_loses_its_beginning_and_keeps_its_last_token(checkpoint: Path, matrix: Path) -> None:
    arguments = {"transform_matrix": str(matrix)}
    context, continuation = REQUESTS[0]
    whole = make_model(checkpoint, "transform", **arguments)
    ids, answer = whole._encode_pair(context, continuation)
    short = make_model(checkpoint, "transform", max_length=len(answer) + 4, **arguments)
    (cut,) = short._loglikelihood_tokens([(("", ""), ids, answer)], disable_tqdm=True)
    (expected,) = whole._loglikelihood_tokens([(("", ""), ids[-5:], answer)], disable_tqdm=True)
    assert cut == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"a continuation has 9 tokens, more than the 4 that"):
        make_model(checkpoint, "off", max_length=4)._loglikelihood_tokens([(("", ""), [5], [6] * 9)], disable_tqdm=True)


def test_the_line_ends_of_a_chat_prompt_stay_before_the_connection(
    checkpoint: Path, matrix: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    connected = make_model(checkpoint, "transform", transform_matrix=str(matrix))
    prompt = connected.apply_chat_template([{"role": "user", "content": "What is the capital?"}])
    assert prompt.endswith("\n\n")
    context, continuation = connected._encode_pair(prompt, "Mji")
    assert connected.tok_decode(context, skip_special_tokens=False) == prompt
    assert connected.tok_decode(continuation) == "Mji"
    # A blank belongs to the word behind it, in every mode.
    assert connected.tok_decode(connected._encode_pair("What ", "is")[1]) == " is"
    assert make_model(checkpoint, "off")._encode_pair(prompt, "Mji") == own_hf(checkpoint)._encode_pair(prompt, "Mji")


def test_english_tasks_are_said_to_be_english(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast, matrix: Path
) -> None:
    settings = ConnectionConfig(english="identity")
    folder = save_connected_checkpoint(tmp_path / "own", tiny_llama_directory, tiny_tokenizer, settings)
    asked = likelihood_requests(REQUESTS)
    english = make_model(folder, "transform", is_english=True, transform_matrix=str(matrix))
    other = make_model(folder, "transform", transform_matrix=str(matrix)).loglikelihood(asked, disable_tqdm=True)
    as_they_are = make_model(folder, "identity").loglikelihood(asked, disable_tqdm=True)
    assert english.loglikelihood(asked, disable_tqdm=True) == as_they_are
    assert other != as_they_are
    wanted = [instances.Instance("generate_until", {}, ("What is", {"until": [], "max_gen_toks": 5}), 0)]
    answers = [make_model(folder, "identity"), english]
    assert len({model.generate_until(wanted, disable_tqdm=True)[0] for model in answers}) == 1


def test_what_a_request_lacks_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    for connection, reason in {
        "parallel": "English version of each prompt",
        "constant": "mean",
        "other": "another",
    }.items():
        with pytest.raises(ConfigError, match=rf"connection={connection} cannot be used in lm-eval: .*{reason}"):
            make_model(checkpoint, connection)
    with pytest.raises(ConfigError, match=r"connection='on' is none of off, transform, identity, parallel, "):
        make_model(checkpoint, "on")
    with pytest.raises(ConfigError, match=r"needs a Transform Matrix .* transform_matrix=FILE"):
        make_model(checkpoint, "transform")
    with pytest.raises(ConfigError, match=r"got model_args peft, trust_remote_code, which it does not know"):
        make_model(checkpoint, "off", trust_remote_code=True, peft="adapter")
    with pytest.raises(ConfigError, match="expected checkpoint=DIR"):
        make_model(tmp_path / "absent", "off")


def test_a_plain_checkpoint_has_nothing_to_connect(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = save_plain_checkpoint(tmp_path / "plain", tiny_llama_directory, tiny_tokenizer)
    with pytest.raises(ConfigError, match="the checkpoint has no connection"):
        make_model(folder, "transform")
