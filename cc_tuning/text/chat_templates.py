"""Names of the chat templates; apart from `prompts`, so that configs can name one without loading transformers."""

from typing import Literal

ChatTemplate = Literal["llama3", "qwen25", "tokenizer"]
"""One of the project's templates (`templates/*.jinja`), or the tokenizer's own."""
