"""One call of `check` names everything that is wrong, whatever it is wrong with, and makes nothing."""

import shutil

import pytest

from tests.field_reports.reported import Reported, needs_reports

pytestmark = needs_reports

BROKEN_ITEMS = {"items_answers_objects": "List(Struct", "items_answers_text": "answers is String"}
SOUND_MODELS = {
    "generation_config": "parts/generation_config.json", "chat_template": "parts/dated.jinja",
    "config": "parts/config_rope.json", "tokenizer_config": "parts/tokenizer_config_fast.json",
}  # fmt: skip


@pytest.mark.parametrize("items", BROKEN_ITEMS)
def test_a_broken_model_rows_and_items_are_three_findings_of_one_call(reported: Reported, items: str) -> None:
    base = reported.base(config="parts/config_4bit.json")
    found = reported.run("check", base, "data.source=backslash.csv", f"evaluation.items={items}")
    assert found.code == 2
    for key, words in {
        "model.base": "quantised (bitsandbytes)", "data.source": "line 7", "evaluation.items": BROKEN_ITEMS[items],
    }.items():  # fmt: skip
        assert f"- {key}: " in found.text and words in found.text
    assert not (reported.scratch / "store").exists()


def test_models_of_several_faults_are_told_with_each(reported: Reported) -> None:
    base = reported.base(tokenizer_config="parts/tokenizer_config_named_templates.json")
    model = reported.scratch / "m"
    (model / "chat_template.jinja").unlink()
    shutil.copyfile(reported.folder / "wrapper_model" / "config.json", model / "config.json")
    found = reported.run("check", base)
    assert found.code == 2
    assert "several parts" in found.text and "several chat templates" in found.text


@pytest.mark.parametrize("stem", SOUND_MODELS)
def test_models_that_can_be_used_have_no_finding(reported: Reported, stem: str) -> None:
    found = reported.run("check", reported.base(**{stem: SOUND_MODELS[stem]}))
    assert (found.code, "Nothing found" in found.text) == (0, True), found.text


@pytest.mark.parametrize("source", ["english_nan.jsonl", "array.jsonl", "string_view.parquet", "dataset_folder"])
def test_rows_that_can_be_read_have_no_finding_of_their_own(reported: Reported, source: str) -> None:
    found = reported.run("check", f"data.source={source}")
    assert "- data.source: " not in found.text
