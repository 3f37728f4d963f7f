"""The engine vllm answers what the engine transformers does: the same files, every kind of request, every connection.

The model is random and small, in float32. vLLM starts once for all of its shards, so one job holds all that is asked.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

from cc_tuning.errors import EvaluationFailed
from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.job_files import read_answers, write_requests
from cc_tuning.inference.jobs import Generate, InferenceJob, InferenceShard, LogLikelihood, Request, Sampling
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.model.config import NEED_ENGLISH, ConnectionMode
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.threads import in_threads
from cc_tuning.runtime.workers import run_here
from tests.serving.served import Served, served_model, vllm_python

pytestmark = pytest.mark.slow

GREEDY = Generate(max_new_tokens=12, stop_token_ids=(2,))
DRAWN = Generate(max_new_tokens=12, stop_token_ids=(2,), sampling=Sampling(temperature=0.8, top_p=0.9, seed=3))
ASKED: list[tuple[str, ConnectionMode, Request]] = [
    *((f"greedy_{mode}", mode, GREEDY) for mode in ("off", "transform", "parallel")),
    ("drawn_transform", "transform", DRAWN),
    *((f"likely_{mode}", mode, LogLikelihood()) for mode in ("off", "transform", "parallel", "other", "identity")),
]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM takes a share of the machine's memory for its cache unless it is told how much."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")


def rows_of(served: Served, connection: ConnectionMode) -> pl.DataFrame:
    """The prompts; each with five options of one token, or with candidates of one to four tokens, two of which differ
    in their last token alone."""
    prompts = served.prompts
    english: list[list[int] | None] = [
        prompts[-1 - place] if connection in NEED_ENGLISH else None for place in range(len(prompts))
    ]
    candidates = [
        [[9], [10], [11], [12], [13]]
        if place % 2
        else [[20 + place], [21, 30 + place], [21, 40, 50, 60], [21, 40, 50, 61]]
        for place in range(len(prompts))
    ]
    return pl.DataFrame(
        {
            "item_id": [f"item-{place}" for place in range(len(prompts))],
            "input_ids": pl.Series(prompts, dtype=pl.List(pl.Int32)),
            "english_input_ids": pl.Series(english, dtype=pl.List(pl.Int32)),
            "continuation_ids": pl.Series(candidates, dtype=pl.List(pl.List(pl.Int32))),
        }
    )


def job_of(
    served: Served, folder: Path, asked: list[tuple[str, ConnectionMode, Request]], python: Path | None = None
) -> InferenceJob:
    """A job in `folder`, its requests written."""
    shards = tuple(
        InferenceShard(
            name=f"{name}.parquet", connection=mode, request=request, is_english=False, prompts=len(served.prompts)
        )
        for name, mode, request in asked
    )
    execution = Execution(device="cpu", threads=1, vllm_python=python or Path(vllm_python()))
    job = InferenceJob(
        checkpoint=Location(str(served.checkpoint)), dtype="float32", execution=execution, folder=folder, shards=shards
    )
    for shard in shards:
        rows = rows_of(served, shard.connection)
        write_requests(job, shard, rows.drop("continuation_ids") if shard.request.kind == "generate" else rows)
    return job


def answered_by_vllm(job: InferenceJob) -> Iterator[pl.DataFrame]:
    """What the engine answers, shard by shard."""
    counted: list[int] = []
    ENGINES["vllm"].load().answer(job, counted.append, in_threads)
    assert sum(counted) == sum(shard.prompts for shard in job.shards)
    return read_all(job)


def answered_by_transformers(job: InferenceJob) -> Iterator[pl.DataFrame]:
    """What the engine transformers answers, shard by shard."""
    run_here(ANSWERING, job, lambda report: None)
    return read_all(job)


def read_all(job: InferenceJob) -> Iterator[pl.DataFrame]:
    for shard in job.shards:
        yield read_answers(job, shard, [f"item-{place}" for place in range(shard.prompts)])


def assert_same_answers(got: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert got["token_ids"].to_list() == expected["token_ids"].to_list()
    assert got["stopped"].to_list() == expected["stopped"].to_list()


def assert_same_likelihoods(got: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Within 1e-4 for each token; every candidate has four at most."""
    for one, other in zip(got["log_likelihoods"].to_list(), expected["log_likelihoods"].to_list(), strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-4)
    assert got["are_greedy"].to_list() == expected["are_greedy"].to_list()


def test_vllm_answers_every_request_in_every_connection_as_transformers_does(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    by_vllm = list(answered_by_vllm(job_of(served, tmp_path / "by_vllm", ASKED)))
    by_transformers = list(answered_by_transformers(job_of(served, tmp_path / "by_transformers", ASKED)))
    for (name, _, request), got, expected in zip(ASKED, by_vllm, by_transformers, strict=True):
        print(name)  # says which of them differ
        if request.kind == "loglikelihood":
            assert_same_likelihoods(got, expected)
        elif name.startswith("greedy"):
            assert_same_answers(got, expected)
    off, connected = by_vllm[0]["token_ids"].to_list(), by_vllm[1]["token_ids"].to_list()
    assert sum(one != other for one, other in zip(off, connected, strict=True)) > len(off) // 2


def test_the_constant_control_is_answered_by_transformers(tmp_path: Path) -> None:
    served = served_model(tmp_path, "llama")
    asked: list[tuple[str, ConnectionMode, Request]] = [("constant", "constant", LogLikelihood())]
    job = job_of(served, tmp_path / "by_vllm", asked, python=tmp_path / "no-python")
    (got,) = answered_by_vllm(job)
    (expected,) = answered_by_transformers(job_of(served, tmp_path / "by_transformers", asked, python=tmp_path))
    assert got.equals(expected)


def test_a_killed_vllm_leaves_whole_shards_and_is_not_asked_for_them_again(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    asked = [(f"{number}_{mode}", mode, GREEDY) for number in range(3) for mode in ("off", "transform")]
    job = job_of(served, tmp_path / "killed", asked)  # type: ignore[arg-type]
    answered: list[int] = []

    def kill_after_the_first(prompts: int) -> None:
        answered.append(prompts)
        if len(answered) == 1:
            (vllm,) = [
                child
                for child in psutil.Process().children(recursive=True)
                if "cc_tuning_vllm.worker" in child.cmdline()
            ]
            vllm.kill()

    with pytest.raises(EvaluationFailed, match="vLLM ended with code -9"):
        ENGINES["vllm"].load().answer(job, kill_after_the_first, in_threads)
    left = job.of_open_shards()
    assert 0 < len(left.shards) < len(job.shards)
    assert sum(answered) == sum(shard.prompts for shard in job.shards) - sum(shard.prompts for shard in left.shards)
    ENGINES["vllm"].load().answer(left, answered.append, in_threads)
    assert sum(answered) == sum(shard.prompts for shard in job.shards)
    ids = rows_of(served, "off")["item_id"].to_list()
    off, connected = (read_answers(job, job.shards[place], ids) for place in (0, 1))
    for place, shard in enumerate(job.shards):
        assert_same_answers(read_answers(job, shard, ids), (off, connected)[place % 2])
