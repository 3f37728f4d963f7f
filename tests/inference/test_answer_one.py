"""One prompt on the command line: English as text, and what goes with what."""

import io
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.inference.answer_one import GenerationRequest, generate_text
from tests.checkpoints import save_connected_checkpoint, save_plain_checkpoint

ASKED = {"max_new_tokens": 6, "temperature": 0.0, "seed": 0}


def answer(checkpoint: Path, connection: str, prompt: str, english: str = "") -> str:
    output = io.StringIO()
    request = GenerationRequest(
        checkpoint=checkpoint,
        prompt=prompt,
        english_prompt=english,
        connection=connection,
        **ASKED,  # type: ignore[arg-type]
    )
    generate_text(request, output)
    return output.getvalue()


@pytest.mark.parametrize("kind", ["plain", "connected"])
def test_context_is_the_prompt_after_its_english_with_the_connection_off(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase, kind: str
) -> None:
    save = save_plain_checkpoint if kind == "plain" else save_connected_checkpoint
    checkpoint = save(tmp_path / kind, tiny_llama_directory, tiny_tokenizer)
    said = answer(checkpoint, "context", "Mji upi?", "Which town?")
    assert said == answer(checkpoint, "off", "Which town?\n\nMji upi?")
    assert answer(checkpoint, "context", "Which?", "Which?") == answer(checkpoint, "off", "Which?")


def test_an_english_prompt_goes_with_what_reads_it(tmp_path: Path) -> None:
    for connection, english in (("context", ""), ("off", "Which?"), ("parallel", "")):
        with pytest.raises(ConfigError, match="goes with the connections `parallel` and `context`"):
            answer(tmp_path, connection, "Mji upi?", english)
