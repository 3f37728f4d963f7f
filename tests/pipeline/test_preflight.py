"""The check before the work: every fault of files, models and settings at once, named, in seconds, and nothing made."""

import json
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.preflight import Finding, find_faults, require_sound
from cc_tuning.text.prompts import load_tokenizer
from flows.cli import app
from flows.reproduce import reproduce

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "field_reports"
ROWS = [
    {"inputs": f"swali {n}", "targets": f"jibu {n}", "language_code": "swh", "inputs_en": f"q {n}", "targets_en": "a"}
    for n in range(4)
]
ITEM = {
    "item_id": "1", "benchmark": "MKQA", "language": "es", "prompt": "¿Qué?", "prompt_en": "What?", "answers": ["1969"],
    "choices_kind": "answer_aliases",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, tiny_llama_directory: Path) -> Path:
    """A folder with a sound recipe: its own rows, items and base model."""
    base = tmp_path / "base"
    base.mkdir()
    for path in tiny_llama_directory.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    load_tokenizer(tiny_llama_directory, "llama3").save_pretrained(base)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "items").mkdir()
    pl.DataFrame([ITEM]).write_parquet(tmp_path / "items" / "mkqa.parquet")
    recipe = {
        "name": "checked", "runs": ["ml-sft", "cc-tuning"], "model": {"base": str(base)},
        "data": {"source": str(tmp_path / "rows.jsonl"), "decontamination": "exact"},
        "translation": {"model": str(base)},
        "evaluation": {"items": str(tmp_path / "items"), "benchmarks": ["MKQA"]},
        "execution": {"store": str(tmp_path / "store"), "output": str(tmp_path / "out"), "device": "cpu"},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    return tmp_path


def findings(project: Path, *overrides: str) -> tuple[Finding, ...]:
    recipe = load_recipe(project / "recipe.yaml", overrides)
    plan = plan_recipe(recipe, sources_may_be_missing=True, hash_sources=False)
    return find_faults(plan, recipe.execution)


def change_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def into_adapter(base: Path) -> None:
    (base / "config.json").unlink()
    (base / "model.safetensors").rename(base / "adapter_model.safetensors")
    change_json(base / "adapter_config.json", peft_type="LORA", base_model_name_or_path="some/base")


def into_pickles(base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def cut_weights(base: Path) -> None:
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])


def without_pad_or_end(base: Path) -> None:
    change_json(base / "tokenizer_config.json", eos_token=None, pad_token=None)


def into_small_vocabulary(base: Path) -> None:
    change_json(base / "config.json", vocab_size=10)
    weights = load_file(base / "model.safetensors")
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    cut = {name: weight[:10].clone() if name in tables else weight for name, weight in weights.items()}
    save_file(cut, base / "model.safetensors", metadata={"format": "pt"})


BROKEN_MODELS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "quantised": (
        lambda base: change_json(base / "config.json", quantization_config={"quant_method": "gptq"}),
        r"quantised \(gptq\); take the original weights",
    ),
    "adapter": (into_adapter, r"is an adapter \(LORA\).*'some/base'"),
    "wrapper": (
        lambda base: change_json(base / "config.json", model_type="gemma3", text_config={"model_type": "gemma3_text"}),
        "several parts.*'gemma3_text'; take the language model alone",
    ),
    "encoder": (
        lambda base: change_json(base / "config.json", is_encoder_decoder=True), "expected a causal language model",
    ),
    "pickles": (into_pickles, "pickles, which are never read"),
    "cut": (cut_weights, r"model\.safetensors .* is truncated or not safetensors"),
    "shard gone": (
        lambda base: change_json(base / "model.safetensors.index.json", weight_map={"a": "model-2.safetensors"}),
        r"1 files of weights that are missing, the first model-2\.safetensors",
    ),
    "no config": (lambda base: (base / "config.json").unlink(), r"config\.json is missing"),
    "config no JSON": (lambda base: (base / "config.json").write_text("{"), r"config\.json is no JSON object"),
    "remote code": (
        lambda base: change_json(base / "config.json", model_type="mine", auto_map={"AutoConfig": "code.Mine"}),
        "remote code is never run",
    ),
    "unknown family": (
        lambda base: change_json(base / "config.json", model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"]),
        "of type 'gpt_neox', which the connection does not know.*train ML-SFT alone",
    ),
    "no template": (lambda base: (base / "chat_template.jinja").unlink(), "has no chat template"),
    "broken template": (lambda base: (base / "chat_template.jinja").write_text("{% for"), "cannot be rendered"),
    "no tokenizer": (lambda base: (base / "tokenizer.json").unlink(), "tokenizer"),
    "no pad": (without_pad_or_end, "neither a padding token nor an end of text"),
    "small vocabulary": (into_small_vocabulary, "tokens, its model embeds 10"),
    "another vocabulary": (
        lambda base: change_json(base / "config.json", vocab_size=10), "config.json says vocab_size is 10, but",
    ),
}  # fmt: skip


def test_a_sound_recipe_has_no_findings_and_nothing_is_made(project: Path) -> None:
    assert findings(project) == ()
    result = CliRunner().invoke(app, ["check", str(project / "recipe.yaml")])
    assert (result.exit_code, result.output.startswith("Nothing found")) == (0, True)
    assert not (project / "store").exists()


@pytest.mark.parametrize("fault", BROKEN_MODELS)
def test_a_model_that_cannot_be_trained_is_named_with_what_to_do(project: Path, fault: str) -> None:
    harm, message = BROKEN_MODELS[fault]
    harm(project / "base")
    found = [finding for finding in findings(project) if finding.where == "model.base"]
    with pytest.raises(ConfigError, match=message):
        raise ConfigError("\n".join(map(str, found)))


def test_all_faults_are_found_in_one_call_and_each_once(project: Path) -> None:
    into_pickles(project / "base")
    (project / "base" / "chat_template.jinja").unlink()
    pl.DataFrame([ITEM | {"answers": "1969"}]).write_parquet(project / "items" / "mkqa.parquet")
    (project / "rows.jsonl").write_text(json.dumps(ROWS[0] | {"targets": None}) + "\n")
    found = findings(project, "execution.report_to=[wandb, nobody]", "execution.sharding=zero3")
    text = "\n".join(map(str, found))
    for part in ("pickles", "no chat template", "answers is String", "1 null_text", "no tracker 'nobody'"):
        assert text.count(part) >= 1
    assert len(set(found)) == len(found)
    with pytest.raises(ConfigError, match=f"{len(found)} findings, and nothing was started"):
        recipe = load_recipe(
            project / "recipe.yaml", ["execution.report_to=[wandb, nobody]", "execution.sharding=zero3"]
        )
        require_sound(plan_recipe(recipe), recipe.execution)


def test_a_stage_that_would_fail_later_is_refused_before_anything_is_made(project: Path) -> None:
    into_pickles(project / "base")
    result = CliRunner().invoke(app, ["train", str(project / "recipe.yaml"), "--run", "ml-sft"])
    assert isinstance(result.exception, ConfigError) and "pickles" in str(result.exception)
    assert not (project / "store" / "select").exists()
    # What the base model is not needed for is made all the same.
    assert CliRunner().invoke(app, ["select", str(project / "recipe.yaml")]).exit_code == 0


def test_missing_files_are_named_by_their_keys(project: Path) -> None:
    found = findings(project, "data.source=no/rows.jsonl", "evaluation.items=no_items", "model.base=./no_base")
    assert {finding.where for finding in found} >= {"data.source", "evaluation.items", "model.base"}
    assert all("does not exist" in finding.what for finding in found)


def test_a_translator_is_looked_at_only_where_rows_lack_english(project: Path) -> None:
    assert findings(project) == ()
    rows = [ROWS[0], ROWS[1] | {"inputs_en": None, "targets_en": None}]
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = findings(project)
    assert found.where == "translation.model" and "expected 'm2m_100'" in found.what


def test_a_translator_of_the_items_prompts_is_looked_at_though_the_rows_bring_their_english(project: Path) -> None:
    assert not findings(project)  # the rows need no translator, so that a language model in its place does no harm
    (found,) = findings(project, "evaluation.competitors=[pivot]")
    assert found.where == "translation.model" and "expected 'm2m_100'" in found.what
    assert not findings(project, "evaluation.competitors=[context]")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["inputs", "targets", "language_code", "inputs_en"]), value=JSON_VALUES, cut=st.booleans())
def test_broken_rows_are_found_or_set_aside_and_never_a_traceback(
    project: Path, key: str, value: Any, cut: bool
) -> None:
    line = json.dumps(ROWS[0] | {key: value})
    (project / "rows.jsonl").write_text(line[: len(line) // 2] if cut else line)
    found = findings(project)
    is_sound = not cut and isinstance(value, str)
    assert is_sound or found or value is None or isinstance(value, float)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_broken_model_files_are_findings_and_never_a_traceback(project: Path, name: str, seed: int) -> None:
    """A random cut, a changed byte, a key taken out, or a value of another kind."""
    path, draw = project / "base" / name, random.Random(f"{name}{seed}")
    content = path.read_bytes()
    kind = draw.choice(["cut", "byte", "key", "value"])
    if kind == "cut" or not name.endswith(".json"):
        path.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "byte":
        place = draw.randrange(len(content))
        path.write_bytes(content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :])
    else:
        values = json.loads(content)
        key = draw.choice(sorted(values))
        if kind == "key":
            del values[key]
        else:
            values[key] = draw.choice([None, [], {}, "x", -1, 1e9, True])
        path.write_text(json.dumps(values))
    for finding in findings(project):
        assert finding.what.strip()


@pytest.mark.skipif(not REPORTS.is_dir(), reason=f"{REPORTS} is not here")
@pytest.mark.parametrize(
    ("name", "message"),
    [("config_4bit.json", "quantised"), ("dated.jinja", ""), ("think.jinja", ""), ("generation_config.json", "")],
)
def test_models_that_people_reported_are_told_or_work(tmp_path: Path, name: str, message: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for path in (REPORTS / "tiny_base").iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    places = {
        "config_4bit.json": "config.json",
        "dated.jinja": "chat_template.jinja",
        "think.jinja": "chat_template.jinja",
    }
    (base / places.get(name, name)).write_bytes((REPORTS / "parts" / name).read_bytes())
    overrides = [f"model.base={base}", f"data.source={REPORTS / 'rows.jsonl'}", f"evaluation.items={REPORTS / 'items'}"]
    recipe = load_recipe(REPORTS / "tiny.yaml", [*overrides, f"translation.model={REPORTS / 'tiny_base'}"])
    found = find_faults(plan_recipe(recipe), recipe.execution)
    assert len(found) == bool(message)
    assert all(message in finding.what for finding in found)


def test_the_model_of_a_run_that_is_not_trained_is_looked_at_as_well(project: Path) -> None:
    change_json(project / "base" / "config.json", intermediate_size=128)
    found = findings(project, "runs=[base]")
    assert any(each.where == "the model evaluated" and "another shape" in each.what for each in found)


def test_a_deployed_flow_refuses_what_the_check_would_before_it_makes_anything(project: Path) -> None:
    into_pickles(project / "base")
    with pytest.raises(ConfigError, match="pickles"):
        reproduce.fn(str(project / "recipe.yaml"))
    with pytest.raises(ConfigError, match="pickles"):  # the nightly, whose store is empty each day
        reproduce.fn(str(project / "recipe.yaml"), fresh=True)
    assert not list(project.glob("store*/*/*"))


def test_an_export_refuses_rows_that_cannot_be_read_before_it_makes_anything(project: Path) -> None:
    (project / "rows.jsonl").write_text("[1, 2")
    result = CliRunner().invoke(app, ["export-dataset", str(project / "recipe.yaml"), str(project / "export")])
    assert isinstance(result.exception, ConfigError) and "data.source" in str(result.exception)
    assert not (project / "store").exists() and not (project / "export").exists()
