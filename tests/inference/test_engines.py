"""Engines by name: what each can be asked, said before anything is loaded."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import EvaluationConfig
from cc_tuning.inference.engines import ENGINES, EngineEntry
from cc_tuning.inference.transformers_engine import TransformersEngine
from tests.checkpoints import save_connected_checkpoint

ROOT = Path(__file__).parents[2]
BARE = ("polars", "pyarrow", "dataframely", "prefect", "icu", "sentencex", "nltk", "rouge_score", "matplotlib")
"""What a machine with torch, transformers, accelerate, safetensors, numpy and pydantic alone has not."""


def test_an_engine_without_the_kind_of_request_is_refused_by_name() -> None:
    engine = EngineEntry("typewriter", frozenset({"generate"}), "nowhere:Nothing")
    engine.check_answers("generate", "the benchmark XNLI")
    with pytest.raises(ConfigError, match=r"^the benchmark BELEBELE needs .*'loglikelihood'.*'typewriter' answers gen"):
        engine.check_answers("loglikelihood", "the benchmark BELEBELE")


def test_the_engine_of_a_recipe_is_found_by_its_name() -> None:
    assert isinstance(ENGINES[EvaluationConfig().engine].load(), TransformersEngine)
    with pytest.raises(ValidationError, match="'transformers'"):
        EvaluationConfig.model_validate({"engine": "abacus"})


ANSWER = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARE:
            raise ModuleNotFoundError(f"{name} is not on this machine", name=name)

BARE = set(json.loads(sys.argv[2]))
sys.meta_path.insert(0, Blocked())

from cc_tuning.inference.generating import generate_answers
from cc_tuning.inference.jobs import Generate, Sampling
from cc_tuning.inference.loglikelihoods import score_continuations
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import load_checkpoint

model = load_checkpoint(sys.argv[1])
prompts = [Prompt("a", [5, 6, 7], [8, 9]), Prompt("b", [10, 11], [12])]
greedy = generate_answers(model, prompts, "parallel", Generate(max_new_tokens=3, stop_token_ids=(2,)))
drawn = generate_answers(model, prompts, "off", Generate(max_new_tokens=3, stop_token_ids=(2,), sampling=Sampling()))
scores = score_continuations(model, prompts, [[1, 2], [3]], "parallel")
assert not BARE & {name.partition(".")[0] for name in sys.modules}
print(len(greedy), len(drawn), len(scores))
"""


def test_a_bare_machine_answers_two_prompts_in_each_way(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    checkpoint = save_connected_checkpoint(tmp_path / "connected", tiny_llama_directory, tiny_tokenizer)
    assert run_fresh(ANSWER, str(checkpoint), '["' + '", "'.join(BARE) + '"]') == "2 2 2"


def test_a_config_names_benchmarks_and_engines_without_loading_what_scores_or_answers() -> None:
    code = """
    import sys
    import cc_tuning.evaluation.config
    heavy = {"torch", "transformers", "nltk", "rouge_score", "icu", "matplotlib", "prefect"}
    print(sorted(heavy & set(sys.modules)))
    """
    assert run_fresh(textwrap.dedent(code)) == "[]"


def run_fresh(code: str, *arguments: str) -> str:
    """The last line that a new interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]
