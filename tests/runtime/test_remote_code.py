"""A repository that brings Python code of its own: no loader runs it, none asks, and each says what it refused."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cc_tuning.errors import CcTuningError, TranslationFailed, UnsupportedModel
from cc_tuning.inference.answer_one import GenerationRequest, generate_text
from cc_tuning.model import load_checkpoint
from cc_tuning.model.checkpoint import read_base_model
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.sources import Location
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.translation.model_files import load_family, load_model

ROOT = Path(__file__).resolve().parents[2]
CONFIG_CODE = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
MODEL_CODE = {"architectures": ["Own"], "auto_map": {"AutoModelForCausalLM": "own.Own"}}
TOKENIZER_CODE = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}


def generate(folder: Path) -> None:
    request = GenerationRequest(
        checkpoint=folder, prompt="x", english_prompt="", connection="off", max_new_tokens=1, temperature=0.0, seed=0
    )
    generate_text(request, NotImplemented)


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(question: str) -> str:
        raise AssertionError(f"asked: {question}")

    monkeypatch.setattr("builtins.input", answer)


@pytest.fixture
def repository(tmp_path: Path, tiny_llama_directory: Path) -> Callable[[str, dict[str, object]], Path]:
    """`repository(file, change)`: a whole model directory with code, `file` changed so that it asks for the code."""

    def made(file: str, change: dict[str, object]) -> Path:
        folder = tmp_path / "repository"
        folder.mkdir()
        for path in tiny_llama_directory.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
        (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
        return folder

    return made


@pytest.mark.parametrize(
    ("load", "file", "change", "failure"),
    [
        (lambda folder: load_config(Location(str(folder))), "config.json", CONFIG_CODE, UnsupportedModel),
        (lambda folder: read_base_model(folder, torch.float32), "config.json", CONFIG_CODE,
         UnsupportedModel),
        (load_checkpoint, "config.json", CONFIG_CODE, UnsupportedModel),
        (generate, "config.json", CONFIG_CODE, UnsupportedModel),
        (load_tokenizer, "tokenizer_config.json", TOKENIZER_CODE, UnsupportedModel),
        (lambda folder: load_family(Location(str(folder))), "config.json", CONFIG_CODE, TranslationFailed),
        (lambda folder: load_model(Location(str(folder)), "float32"), "config.json", CONFIG_CODE, TranslationFailed),
    ],
    ids=["config", "base model", "checkpoint", "generate", "tokenizer", "translator's tokenizer", "translator"],
)  # fmt: skip
def test_what_needs_its_own_code_is_refused_by_name(
    tmp_path: Path,
    repository: Callable[[str, dict[str, object]], Path],
    load: Callable[[Path], object],
    file: str,
    change: dict[str, object],
    failure: type[CcTuningError],
) -> None:
    folder = repository(file, change)
    with pytest.raises(failure, match="remote code is never run") as refused:
        load(folder)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_code_that_is_not_needed_is_left_alone(
    tmp_path: Path, repository: Callable[[str, dict[str, object]], Path]
) -> None:
    folder = repository("config.json", MODEL_CODE)
    assert read_base_model(folder, torch.float32).config.model_type == "llama"
    assert not (tmp_path / "ran").exists()


def _loading_calls(path: Path) -> list[ast.Call]:
    """The calls of transformers' `from_pretrained` in a file; our own of that name take no repository with code."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    attributes = [(call, call.func) for call in calls if isinstance(call.func, ast.Attribute)]
    return [
        call
        for call, called in attributes
        if called.attr == "from_pretrained"
        and not (isinstance(called.value, ast.Name) and called.value.id in ("CrossLingualModel", "cls"))
    ]


def test_every_call_that_loads_says_that_remote_code_is_not_trusted() -> None:
    files = [path for folder in ("cc_tuning", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = 0
    for path in files:
        for call in _loading_calls(path):
            found += 1
            said = {word.arg: ast.unparse(word.value) for word in call.keywords}
            packed = '"trust_remote_code": False' in path.read_text() and None in said  # in a dict of arguments
            assert said.get("trust_remote_code") == "False" or packed, f"{path}:{call.lineno}"
    assert found >= 8
