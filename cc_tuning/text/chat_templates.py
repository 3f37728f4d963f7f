"""The chat templates that this project brings; apart from `prompts`, so that configs name one without transformers."""

from pathlib import Path
from typing import Literal

ChatTemplate = Literal["gemma", "llama2", "llama3", "mistral", "qwen25", "qwen3", "tokenizer"]
"""One of the project's templates, or the tokenizer's own."""
CHAT_TEMPLATES = Path(__file__).with_name("templates")
"""The folder of the project's templates, one Jinja file each."""
