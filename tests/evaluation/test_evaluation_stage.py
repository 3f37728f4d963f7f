"""The evaluation stage end to end: real worker processes, tiny checkpoints, kills and bad items."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, EvaluationFailed, UnsupportedModel
from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.config import EvaluationConfig, RunEvaluation
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.jobs import InferenceJob, OnAnswers
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.model import CrossLingualModel, load_checkpoint
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import Progress, no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here
from cc_tuning.stages.evaluate import build_evaluation, evaluate_with
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.errors import ContractViolation
from data_contracts.parquet import read_parquet
from data_contracts.schemas import CandidateLikelihood, ItemScore, Prediction, QuarantinedRow, Score
from tests.checkpoints import save_connected_checkpoint, save_matrix, save_plain_checkpoint
from tests.dying_workers import WatchedShards, finished
from tests.watching import modified, wait_until

ROOT = Path(__file__).parents[2]
CONFIG = EvaluationConfig(max_new_tokens=5, bootstrap_samples=200)
ANSWERS = {
    "XNLI": ["2"],
    "XStoryCloze": ["1"],
    "MMMLU": ["C"],
    "MKQA": ["nairobi", "Nairobi "],
    "XQuAD": ["Kenya"],
    "XLSum": ["Kenya has a capital."],
}


def _item(benchmark: str, language: str, number: int, **changes: object) -> dict[str, object]:
    return {
        "benchmark": benchmark,
        "language": language,
        "item_id": f"{benchmark.lower()}-{number:04d}",
        "prompt": f"{language} {'केन्या ' * (number % 3)}{benchmark} question {number}?",
        "prompt_en": f"{benchmark} question {number}?" if number else None,
        "answers": ANSWERS[benchmark],
        "choices_kind": BENCHMARKS[benchmark].choices_kind,
        **changes,
    }


def _write_items(folder: Path, items: list[dict[str, object]], name: str = "items.parquet") -> Path:
    folder.mkdir(exist_ok=True)
    pl.DataFrame(items).write_parquet(folder / name)
    return folder


@dataclass(frozen=True)
class Checkpoints:
    plain: Path
    connected: Path
    matrix: Path


@pytest.fixture(scope="module")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> Checkpoints:
    folder = tmp_path_factory.mktemp("checkpoints")
    return Checkpoints(
        save_plain_checkpoint(folder / "plain", tiny_llama_directory, tiny_tokenizer),
        save_connected_checkpoint(folder / "connected", tiny_llama_directory, tiny_tokenizer),
        save_matrix(folder / "matrix.safetensors", 3 * torch.eye(32)),
    )


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three items of each benchmark in two languages; item 0 has no English prompt."""
    rows = [
        _item(benchmark, code, number) for benchmark in PAPER_BENCHMARKS for code in ("en", "hi") for number in range(3)
    ]
    return _write_items(tmp_path_factory.mktemp("items"), rows)


def _build(
    folder: Path,
    items: Path,
    checkpoints: Checkpoints,
    run: str = "cc-tuning",
    config: EvaluationConfig = CONFIG,
    progress: Progress = no_progress,
    batch: int = 2,
    limit: float = 1.0,
    workers: int = 1,
) -> Build[RunEvaluation]:
    inputs = {"items": Location(str(items))}
    if run.startswith("cc"):
        inputs |= {"checkpoint": Location(str(checkpoints.connected)), "transform": Location(str(checkpoints.matrix))}
    else:
        inputs |= {"checkpoint": Location(str(checkpoints.plain))}
    folder.mkdir(exist_ok=True)
    execution = Execution(
        device="cpu", threads=1, evaluation_batch_size=batch, quarantine_limit=limit, inference_workers=workers
    )
    return Build(RunEvaluation(run=run, evaluation=config), inputs, folder, execution, progress)


class EngineHere:
    """The reference engine without its process, which takes seconds to start; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        self.asked += [shard.name for shard in job.shards]
        run_here(ANSWERING, job, lambda report: on_answers(report.answered))


def _listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def connected_run(tmp_path_factory: pytest.TempPathFactory, checkpoints: Checkpoints, items: Path) -> Path:
    """The artifact of a CC-tuned run, answered by a real worker process."""
    told: list[tuple[int | str, ...]] = []
    folder = tmp_path_factory.mktemp("connected") / "run"
    build = _build(folder, items, checkpoints, progress=lambda *state: told.append(state))
    counts = build_evaluation(build)
    assert (counts.read, counts.kept, counts.quarantined) == (36, 36, {})
    assert told[-1] == (240, 240, "prompts")  # 96 answers, 144 items for likelihoods
    return folder


def test_connected_run_is_answered_three_ways_and_scored(
    connected_run: Path, checkpoints: Checkpoints, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    assert _listing(connected_run) == {
        "predictions.parquet", "predictions.parquet.done.json", "likelihoods.parquet", "likelihoods.parquet.done.json",
        "item_scores.parquet", "scores.parquet", "quarantine.parquet", "scoring.json",
    }  # fmt: skip
    predictions = read_parquet(connected_run / "predictions.parquet", Prediction)
    by_connection = dict(predictions.group_by("connection").len().iter_rows())
    assert by_connection == {"off": 36, "transform": 36, "parallel": 24}  # item 0 has no English prompt
    assert "ICU" in json.loads((connected_run / "scoring.json").read_text())["rougeL"]
    _check_against_one_by_one(predictions, checkpoints, tiny_tokenizer)
    layers = predictions.group_by("connection").agg(pl.col("selected_layer").is_null().all())
    assert dict(layers.iter_rows()) == {"off": True, "transform": False, "parallel": False}
    item_scores = read_parquet(connected_run / "item_scores.parquet", ItemScore)
    counts = dict(item_scores.group_by("metric").len().iter_rows())
    assert {name: counts[name] for name in ("accuracy", "rougeL", "gold_nll", "accuracy_by_likelihood")} == {
        "accuracy": 80, "rougeL": 16, "gold_nll": 144, "accuracy_by_likelihood": 72,
    }  # fmt: skip
    assert counts["cut"] == 96  # every written answer is described
    scores = read_parquet(connected_run / "scores.parquet", Score)
    heights = dict(scores.group_by("metric").len().iter_rows())
    # connections x benchmarks x (two languages and their average)
    assert (heights["accuracy"], heights["gold_nll"]) == (3 * 5 * 3, 5 * 6 * 3)
    languages = scores.filter(pl.col("language") != "avg").group_by("connection", "benchmark", "metric")
    means = languages.agg(pl.col("value").mean(), pl.col("items").sum())
    averages = scores.filter(pl.col("language") == "avg")
    joined = averages.join(means, on=["connection", "benchmark", "metric"], validate="1:1")
    assert joined.height == averages.height
    assert (joined["value"] - joined["value_right"]).abs().max() < 1e-9  # type: ignore[operator]
    assert joined["items"].to_list() == joined["items_right"].to_list()


def _check_against_one_by_one(
    predictions: pl.DataFrame, checkpoints: Checkpoints, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Batching, sorting, padding and shards change nothing: each prompt alone gives the same answer."""
    model = load_checkpoint(checkpoints.connected, transform_matrix=checkpoints.matrix)
    prompts = ChatPrompts(tokenizer)
    for row in predictions.gather_every(7).iter_rows(named=True):
        item = _item(row["benchmark"], row["language"], int(row["item_id"][-4:]))
        ids = torch.tensor([prompts.encode_prompt(str(item["prompt"]))])
        arguments: dict[str, object] = {"max_new_tokens": 5, "eos_token_id": list(prompts.stop_token_ids)}
        if row["connection"] == "parallel":
            english = torch.tensor([prompts.encode_prompt(str(item["prompt_en"]))])
            arguments |= {"english_input_ids": english, "english_attention_mask": torch.ones_like(english)}
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), connection=row["connection"], do_sample=False, **arguments
        )
        response = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert (row["response"], row["prompt_tokens"]) == (response, ids.shape[1])


def test_run_without_connection_is_answered_once(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    build = _build(tmp_path / "run", items, checkpoints, run="ml-sft")
    evaluate_with(EngineHere(), build)
    predictions = read_parquet(build.folder / "predictions.parquet", Prediction)
    assert predictions["connection"].unique().to_list() == ["off"]
    assert predictions["run"].unique().to_list() == ["ml-sft"]


def test_killed_evaluation_resumes_without_answering_a_finished_shard_again(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, connected_run: Path
) -> None:
    killed = _build(tmp_path / "killed", items, checkpoints)
    work = killed.folder / "work"
    script = tmp_path / "evaluate.py"
    script.write_text(
        "import sys; from pathlib import Path; import tests.evaluation.test_evaluation_stage as t\n"
        "plain, connected, matrix, items, folder = map(Path, sys.argv[1:])\n"
        "t.build_evaluation(t._build(folder, items, t.Checkpoints(plain, connected, matrix)))\n"
    )
    places = [checkpoints.plain, checkpoints.connected, checkpoints.matrix, items, killed.folder]
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, places)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    wait_until(lambda: len(modified(work, "**/*.done.json")) >= 3, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, still_there = psutil.wait_procs(workers, timeout=120)  # the kernel tells them
    assert workers and not still_there
    before = finished(work / "shards")
    assert 3 <= len(before) < 96
    engine = EngineHere()
    evaluate_with(engine, killed)
    assert len(engine.asked) == 96 - len(before)
    for name in _listing(connected_run):
        assert (killed.folder / name).read_bytes() == (connected_run / name).read_bytes(), name


def test_lost_scores_are_made_again_without_the_model(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    build = _build(tmp_path / "run", items, checkpoints, run="ml-sft")
    engine = EngineHere()
    evaluate_with(engine, build)
    before = (build.folder / "scores.parquet").read_bytes()
    (build.folder / "scores.parquet").unlink()
    evaluate_with(engine, build)
    assert (build.folder / "scores.parquet").read_bytes() == before
    assert len(engine.asked) == 12 + 12
    damaged = bytearray((build.folder / "predictions.parquet").read_bytes())
    damaged[100] ^= 1
    (build.folder / "predictions.parquet").write_bytes(damaged)
    evaluate_with(engine, build)
    assert len(engine.asked) == 24 + 12  # the answers and not the likelihoods


def test_batch_size_does_not_change_the_result(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    answers = []
    for batch in (1, 5):
        build = _build(tmp_path / f"run{batch}", items, checkpoints, run="ml-sft", batch=batch)
        evaluate_with(EngineHere(), build)
        answers.append(read_parquet(build.folder / "predictions.parquet", Prediction))
    assert answers[0].equals(answers[1])


def test_items_are_selected_by_id_and_unfit_ones_quarantined_by_rule(tmp_path: Path, checkpoints: Checkpoints) -> None:
    rows = [_item("XNLI", code, number) for code in ("en", "hi", "sw") for number in range(5)]
    rows += [
        _item("XNLI", "hi", 90, answers=["4"]),
        _item("XNLI", "hi", 91, choices_kind="context_span"),
        _item("XNLI", "hi", 92, prompt=""),
        _item("XNLI", "hi", 93, answers=[]),
        _item("XNLI", "hi", 94) | {"benchmark": "Unknown"},
        _item("XNLI", "Hindi!", 95),
        _item("MKQA", "hi", 96, answers=[" \u200f "]),
        _item("MKQA", "hi", 0),
        _item("XNLI", "hi", 0, item_id="xnli-00000", prompt="long " * 400),
    ]
    items = _write_items(tmp_path / "items", rows)
    config = CONFIG.model_copy(update={"benchmarks": ("XNLI",), "languages": ("en", "hi"), "items_per_language": 3})
    build = _build(tmp_path / "run", items, checkpoints, run="ml-sft", config=config)
    counts = evaluate_with(EngineHere(), build)
    predictions = read_parquet(build.folder / "predictions.parquet", Prediction)
    assert sorted(predictions.select("language", "item_id").iter_rows()) == [
        ("en", "xnli-0000"), ("en", "xnli-0001"), ("en", "xnli-0002"), ("hi", "xnli-0000"), ("hi", "xnli-0001"),
    ]  # fmt: skip
    assert counts.read == len(rows)
    assert counts.not_selected == 17 - 6  # of the sound rows, six stand among the first three ids
    quarantined = read_parquet(build.folder / "quarantine.parquet", QuarantinedRow)
    by_rule = dict(quarantined.group_by("rule").agg(pl.col("row_id")).iter_rows())
    assert by_rule.pop("prompt_longer_than_context") == ["xnli-00000"]
    assert by_rule.pop("answers_cannot_be_met") == ["mkqa-0096", "xnli-0090"]
    assert by_rule.pop("choices_kind_of_another_benchmark") == ["xnli-0091"]
    contract = sorted(row for group in by_rule.values() for row in group)
    assert contract == ["xnli-0092", "xnli-0093", "xnli-0094", "xnli-0095"]


def test_too_many_broken_rows_stop_the_stage(tmp_path: Path, checkpoints: Checkpoints) -> None:
    rows = [_item("XNLI", "hi", number, prompt="" if number < 2 else "x") for number in range(10)]
    items = _write_items(tmp_path / "items", rows)
    build = _build(tmp_path / "run", items, checkpoints, "ml-sft", CONFIG, limit=0.05)
    with pytest.raises(ContractViolation, match="2 of 10 rows"):
        build_evaluation(build)


def test_nothing_to_evaluate_is_said_plainly(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    config = CONFIG.model_copy(update={"languages": ("fr",)})
    with pytest.raises(ConfigError, match="XLSum in fr; the items have XNLI: en hi; XStoryCloze: en hi"):
        build_evaluation(_build(tmp_path / "run", items, checkpoints, "ml-sft", config))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no parquet file"):
        build_evaluation(_build(tmp_path / "run", tmp_path / "empty", checkpoints, "ml-sft"))
    long = _write_items(tmp_path / "long", [_item("XNLI", "hi", 0, prompt="word " * 600)])
    with pytest.raises(ConfigError, match="each of the 1 prompts is longer than the context"):
        build_evaluation(_build(tmp_path / "run", long, checkpoints, "ml-sft"))


def test_what_a_worker_cannot_use_is_named_as_what_it_is(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    broken = save_matrix(tmp_path / "narrow.safetensors", torch.eye(31))
    build = _build(tmp_path / "run", items, Checkpoints(checkpoints.plain, checkpoints.connected, broken))
    with pytest.raises(UnsupportedModel, match=r"\(31, 31\)"):
        build_evaluation(build)


def test_attention_of_the_execution_reaches_the_worker(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    build = _build(tmp_path / "run", items, checkpoints)
    execution = build.execution.model_copy(update={"attention": "flash_attention_2"})
    with pytest.raises(ConfigError, match=r"execution\.attention is 'flash_attention_2'"):
        build_evaluation(dataclasses.replace(build, execution=execution))


def test_two_workers_write_the_bytes_of_one(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, connected_run: Path
) -> None:
    told: list[int] = []
    build = _build(
        tmp_path / "run", items, checkpoints, workers=2, progress=lambda done, total, unit, detail="": told.append(done)
    )
    build_evaluation(build)
    assert told == sorted(told) and told[-1] == 240
    assert _listing(build.folder) == _listing(connected_run)
    for name in _listing(connected_run):
        assert (build.folder / name).read_bytes() == (connected_run / name).read_bytes(), name


def test_a_killed_worker_is_named_and_only_the_shard_it_was_in_is_answered_again(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, connected_run: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    watched = WatchedShards(tmp_path / "fates", monkeypatch, caplog)
    build = _build(tmp_path / "run", items, checkpoints, workers=2)
    with pytest.raises(
        EvaluationFailed, match=r"^inference worker \d: the worker process was killed by signal SIGKILL"
    ):
        build_evaluation(build)
    before = finished(build.folder / "work" / "shards")
    (lost,) = watched.begun - Counter(before.keys())
    assert watched.begun == watched.made == Counter([*before, lost])
    assert 3 <= len(before) < 95
    build_evaluation(build)
    assert watched.begun == watched.made
    assert {name for name, times in watched.made.items() if times != 1} == {lost}
    assert (watched.made[lost], len(watched.made)) == (2, 96)
    assert _listing(build.folder) == _listing(connected_run)
    for name in _listing(connected_run):
        assert (build.folder / name).read_bytes() == (connected_run / name).read_bytes(), name


def _asked_of(
    folder: Path, items: Path, checkpoint: Location, matrix: Path | None = None, chat_template: str = "tokenizer"
) -> pl.DataFrame:
    """The predictions of any checkpoint."""
    inputs = {"items": Location(str(items)), "checkpoint": checkpoint}
    if matrix is not None:
        inputs["transform"] = Location(str(matrix))
    folder.mkdir()
    config = RunEvaluation.model_validate(
        {
            "run": "any",
            "evaluation": CONFIG.model_copy(update={"benchmarks": ("XNLI",)}),
            "chat_template": chat_template,
        }
    )
    execution = Execution(device="cpu", threads=1, evaluation_batch_size=4)
    evaluate_with(EngineHere(), Build(config, inputs, folder, execution, no_progress))
    return read_parquet(folder / "predictions.parquet", Prediction)


def test_a_base_model_without_a_chat_template_is_evaluated_with_one_of_ours(
    tmp_path: Path, items: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    base = Location(str(tiny_llama_directory))
    with pytest.raises(ConfigError, match="has no chat template"):
        _asked_of(tmp_path / "none", items, base)
    predictions = _asked_of(tmp_path / "run", items, base, chat_template="llama3")
    assert predictions["connection"].unique().to_list() == ["off"]
    tuned = save_plain_checkpoint(tmp_path / "same", tiny_llama_directory, tiny_tokenizer)
    assert predictions.equals(_asked_of(tmp_path / "same-run", items, Location(str(tuned))))


def test_a_checkpoint_from_elsewhere_answers_in_each_way_it_can(
    tmp_path: Path, items: Path, checkpoints: Checkpoints
) -> None:
    connected = Location(str(checkpoints.connected))
    without = _asked_of(tmp_path / "without", items, connected)
    assert without["connection"].unique(maintain_order=True).to_list() == ["off", "parallel"]
    given = _asked_of(tmp_path / "given", items, connected, checkpoints.matrix)
    assert given["connection"].unique(maintain_order=True).to_list() == ["off", "transform", "parallel"]
    model = load_checkpoint(checkpoints.connected, transform_matrix=checkpoints.matrix)
    inside = tmp_path / "inside"
    shutil.copytree(checkpoints.connected, inside)
    model.save_connection(inside)  # type: ignore[operator]
    assert _asked_of(tmp_path / "inside-run", items, Location(str(inside))).equals(given)
    with pytest.raises(ConfigError, match="has no cross-lingual connection"):
        _asked_of(tmp_path / "plain", items, Location(str(checkpoints.plain)), checkpoints.matrix)


def test_an_unknown_family_is_refused_only_where_it_has_a_connection(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    stranger = tmp_path / "gpt2"
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_positions=512, n_embd=32, n_layer=2, n_head=4)).save_pretrained(
        stranger
    )
    tiny_tokenizer.save_pretrained(stranger)
    assert _asked_of(tmp_path / "run", items, Location(str(stranger))).height == 6
    for name in ("cross_lingual.json", "cross_lingual_connection.safetensors"):
        shutil.copy(checkpoints.connected / name, stranger / name)
    with pytest.raises(UnsupportedModel, match="gpt2"):
        _asked_of(tmp_path / "connected", items, Location(str(stranger)))


HUB = """
import sys
from pathlib import Path
import tests.evaluation.test_evaluation_stage as t
print(t._asked_of(Path(sys.argv[1]), Path(sys.argv[2]), t.Location("ours/tiny", "0" * 40)).height)
"""


def test_a_model_of_the_hub_is_evaluated_at_its_revision(tmp_path: Path, items: Path, checkpoints: Checkpoints) -> None:
    cached = tmp_path / "hub" / "models--ours--tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(checkpoints.connected, cached)
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", HUB, str(tmp_path / "run"), str(items)],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout.split()[-1:] == ["10"], run.stderr  # six without a connection, four with English prompts


def test_a_benchmark_by_likelihood_is_answered_with_the_most_likely_option(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, tiny_tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    by_likelihood = dataclasses.replace(BENCHMARKS["XNLI"], request="loglikelihood")
    monkeypatch.setitem(BENCHMARKS, "XNLI", by_likelihood)  # type: ignore[arg-type]
    predictions = _asked_of(tmp_path / "run", items, Location(str(checkpoints.plain)))
    model, prompts = load_checkpoint(checkpoints.plain), ChatPrompts(tiny_tokenizer)
    assert predictions.height == 6
    for row in predictions.iter_rows(named=True):
        item = _item("XNLI", row["language"], int(row["item_id"][-4:]))
        totals = {}
        for option in ("1", "2", "3"):
            example = prompts.encode_example(str(item["prompt"]), option)
            with torch.no_grad():
                logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
            steps = range(example.prompt_length, len(example.input_ids))
            totals[option] = sum(float(logits[step - 1, example.input_ids[step]]) for step in steps)
        assert row["response"] == max(totals, key=lambda option: totals[option])
        assert (row["new_tokens"], row["stopped"]) == (2, True)


CANDIDATES = {"XNLI": "123", "XStoryCloze": "12", "MMMLU": "ABCD"}


def _texts(benchmark: str) -> dict[str, str]:
    """The candidates of an item by their names."""
    options = {option: option for option in CANDIDATES.get(benchmark, "")}
    return {"gold": str(ANSWERS[benchmark][0]), **options}


def _prompt(prompts: ChatPrompts, benchmark: str, language: str, number: int, english: int) -> Prompt:
    """The prompt of one item with the English prompt of another."""
    own, other = (_item(benchmark, language, at) for at in (number, english))
    english_ids = None if other["prompt_en"] is None else prompts.encode_prompt(str(other["prompt_en"]))
    return Prompt("any", prompts.encode_prompt(str(own["prompt"])), english_ids, language == "en")


def test_likelihoods_of_each_connection_are_those_of_each_item_alone(
    connected_run: Path, checkpoints: Checkpoints, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    likelihoods = read_parquet(connected_run / "likelihoods.parquet", CandidateLikelihood)
    of_items = likelihoods.select("connection", "benchmark", "language", "item_id").unique()
    assert dict(of_items.group_by("connection").len().iter_rows()) == {
        "off": 36, "transform": 36, "parallel": 24, "constant": 24, "other": 24,
    }  # fmt: skip
    model = load_checkpoint(checkpoints.connected, transform_matrix=checkpoints.matrix)
    assert isinstance(model, CrossLingualModel)
    prompts = ChatPrompts(tiny_tokenizer)
    groups = likelihoods.group_by("connection", "benchmark", "language", "item_id", maintain_order=True)
    for (connection, benchmark, language, item_id), rows in list(groups)[::5]:
        number = int(str(item_id)[-4:])
        # Item 0 has no English prompt, so 1 and 2 stand in for each other, and the constant is the mean of both.
        both = [_prompt(prompts, str(benchmark), str(language), at, at) for at in (1, 2)]
        english = 3 - number if connection == "other" else number
        constant = mean_carried_vector(model, both, batch_size=1) if connection == "constant" else None
        for row in rows.iter_rows(named=True):
            text = _texts(str(benchmark))[row["candidate"]]
            ids = prompts.encode_example("", text).input_ids[len(prompts.encode_prompt("")) : -1]
            prompt = _prompt(prompts, str(benchmark), str(language), number, english)
            ((alone,),) = score_candidates(model, [prompt], [[ids]], connection, constant)  # type: ignore[arg-type]
            assert row["log_likelihood"] == pytest.approx(alone.log_likelihood, abs=1e-5, rel=1e-5)
            assert (row["tokens"], row["bytes"]) == (len(ids), len(text.encode()))
            assert (row["is_greedy"], row["selected_layer"]) == (alone.is_greedy, alone.selected_layer)


def test_without_a_connection_likelihoods_are_those_of_a_plain_forward_pass(
    tmp_path: Path, items: Path, checkpoints: Checkpoints, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    build = _build(tmp_path / "run", items, checkpoints, run="ml-sft")
    evaluate_with(EngineHere(), build)
    likelihoods = read_parquet(build.folder / "likelihoods.parquet", CandidateLikelihood)
    assert likelihoods["connection"].unique().to_list() == ["off"]
    assert likelihoods.height == 36 + 6 * (3 + 2 + 4)
    model, prompts = load_checkpoint(checkpoints.plain), ChatPrompts(tiny_tokenizer)
    for row in likelihoods.iter_rows(named=True):
        item = _item(row["benchmark"], row["language"], int(row["item_id"][-4:]))
        example = prompts.encode_example(str(item["prompt"]), _texts(row["benchmark"])[row["candidate"]])
        ids = example.input_ids[:-1]  # the end of the turn is not the answer's
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        total = sum(float(logits[step - 1, ids[step]]) for step in range(example.prompt_length, len(ids)))
        assert row["log_likelihood"] == pytest.approx(total, abs=1e-5, rel=1e-5)


def test_a_recipe_may_leave_likelihoods_out_and_name_its_controls(
    tmp_path: Path, items: Path, checkpoints: Checkpoints
) -> None:
    engine = EngineHere()
    config = EvaluationConfig(max_new_tokens=2, bootstrap_samples=50, benchmarks=("XNLI",), likelihoods=False)
    build = _build(tmp_path / "without", items, checkpoints, config=config)
    evaluate_with(engine, build)
    assert not [name for name in _listing(build.folder) if "likelihood" in name]
    metrics = read_parquet(build.folder / "item_scores.parquet", ItemScore)["metric"].unique()
    assert "accuracy" in metrics and "gold_nll" not in metrics
    assert {name.split("/")[0] for name in engine.asked} == {"off", "transform", "parallel"}
    named = EvaluationConfig(max_new_tokens=2, bootstrap_samples=50, benchmarks=("XNLI",), controls=("identity",))
    build = _build(tmp_path / "named", items, checkpoints, config=named)
    evaluate_with(EngineHere(), build)
    likelihoods = read_parquet(build.folder / "likelihoods.parquet", CandidateLikelihood)
    assert set(likelihoods["connection"]) == {"off", "transform", "parallel", "identity"}
    # A control is measured by likelihood alone.
    predictions = read_parquet(build.folder / "predictions.parquet", Prediction)
    assert set(predictions["connection"]) == {"off", "transform", "parallel"}
