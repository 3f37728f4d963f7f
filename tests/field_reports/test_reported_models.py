"""Models, tokenizers and templates as people bring them."""

import shutil
from datetime import datetime
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as rendering

from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.layout import CHECKPOINT, TRAINING_ROWS
from tests.field_reports.reported import Reported, json_of, needs_reports

pytestmark = needs_reports


@pytest.mark.slow
def test_s01_sampling_settings_that_cannot_be_saved_lose_no_training(reported: Reported) -> None:
    done = reported.run("train", reported.base(generation_config="parts/generation_config.json"), run="ml-sft")
    assert done.code == 0, done.text
    saved = json_of(reported.artifact("train") / CHECKPOINT / "generation_config.json")
    assert "temperature" not in saved and "top_p" not in saved
    assert saved["pad_token_id"] == 5


def test_s02_a_template_with_the_day_in_it_gives_the_same_rows_on_all_days(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, rows = reported.base(chat_template="parts/dated.jinja"), []
    for day in (1, 40):
        clock = type("Clock", (), {"now": lambda day=day: datetime(2026, 1 + day // 31, day % 31 or 1)})
        monkeypatch.setattr(rendering, "datetime", clock)
        done = reported.run("materialize", base, f"execution.store={reported.scratch / f'day{day}'}", run="ml-sft")
        assert done.code == 0, done.text
        rows.append((reported.artifact("materialize", f"day{day}") / TRAINING_ROWS).read_bytes())
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_s10_a_checkpoint_says_its_rotary_scaling_and_tokenizer_as_version_4_reads_them(reported: Reported) -> None:
    base = reported.base(config="parts/config_rope.json", tokenizer_config="parts/tokenizer_config_fast.json")
    done = reported.run("train", base, run="ml-sft")
    assert done.code == 0, done.text
    checkpoint = reported.artifact("train") / CHECKPOINT
    given, saved = json_of(reported.folder / "parts/config_rope.json"), json_of(checkpoint / "config.json")
    assert {key: saved[key] for key in ("rope_theta", "rope_scaling")} == {
        key: given[key] for key in ("rope_theta", "rope_scaling")
    }
    assert json_of(checkpoint / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_s16_several_templates_and_no_default_are_named_with_what_to_set(reported: Reported) -> None:
    base = reported.base(tokenizer_config="parts/tokenizer_config_named_templates.json")
    (reported.scratch / "m/chat_template.jinja").unlink()
    done = reported.run("materialize", base, run="ml-sft")
    assert done.code == 2
    assert "several chat templates (rag, tool_use)" in done.text and "materialization.chat_template" in done.text


def with_word_marks(reported: Reported) -> str:
    base = reported.base()
    for path in (reported.folder / "inst_tokenizer").iterdir():
        shutil.copyfile(path, reported.scratch / "m" / path.name)
    return base


def test_s17_a_tokenizer_with_word_start_marks_is_used_with_its_own_template(reported: Reported) -> None:
    done = reported.run("materialize", with_word_marks(reported), run="ml-sft")
    assert done.code == 0, done.text
    tokenizer = load_tokenizer(Path(reported.scratch / "m"))
    example = ChatPrompts(tokenizer).encode_example("Habari", "Nzuri")
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Habari"}, {"role": "assistant", "content": "Nzuri"}], return_dict=False
    )
    assert example.input_ids == rendered[: len(example.input_ids)]


def test_s17_templates_whose_control_tokens_it_lacks_are_refused_with_them(reported: Reported) -> None:
    for name in ("llama3", "qwen25"):
        done = reported.run(
            "materialize", with_word_marks(reported), f"materialization.chat_template={name}", run="ml-sft"
        )
        assert done.code == 2
        assert "does not have as tokens" in done.text


def test_s18_a_template_that_can_think_is_asked_not_to(reported: Reported) -> None:
    base = reported.base(chat_template="parts/think.jinja")
    done = reported.run("materialize", base, run="ml-sft")
    assert done.code == 0, done.text
    tokenizer = load_tokenizer(Path(reported.scratch / "m"))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert ChatPrompts(tokenizer).encode_prompt("x") == prompt


@pytest.mark.parametrize("run", ["ml-sft", "cc-tuning"])
def test_s19_a_model_of_several_parts_is_refused_before_anything_is_made(reported: Reported, run: str) -> None:
    base = reported.base()
    for path in (reported.folder / "wrapper_model").iterdir():
        shutil.copyfile(path, reported.scratch / "m" / path.name)
    done = reported.run("train", base, run=run)
    assert done.code == 2
    assert "several parts (type 'gemma3')" in done.text and "'gemma3_text'" in done.text
    assert not (reported.scratch / "store/select").exists()


def test_s25_a_quantised_base_is_refused_before_anything_is_made(reported: Reported) -> None:
    done = reported.run("train", reported.base(config="parts/config_4bit.json"), run="ml-sft")
    assert done.code == 2
    assert "quantised (bitsandbytes); take the original weights" in done.text
    assert not (reported.scratch / "store/select").exists()


def test_s26_an_adapter_is_called_that_with_its_base(reported: Reported) -> None:
    base = reported.base(adapter_config="parts/adapter_config.json")
    model = reported.scratch / "m"
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    (model / "config.json").unlink()
    done = reported.run("train", base, run="ml-sft")
    assert done.code == 2
    assert "is an adapter (LORA)" in done.text and "'some/base'" in done.text
    assert not (reported.scratch / "store/select").exists()


@pytest.mark.parametrize(
    ("key", "place", "expected"),
    [
        ("model.base", "models/llama3", "or mend the path, if it is one: there is no such file or folder"),
        ("data.source", "my/rows.tsv", "my/rows.tsv is not there yet"),
    ],
)
def test_s27_a_path_that_is_not_there_is_called_that(reported: Reported, key: str, place: str, expected: str) -> None:
    done = reported.run("plan", f"{key}={place}")
    assert expected in done.text
    assert "evaluation" not in done.text or key == "data.source"  # a refusal does not print the recipe
