"""Tasks of lm-eval made on this machine: lines of text that the tiny tokenizer knows, no hub and no download."""

import json
import random
from pathlib import Path

WORDS = [
    "What",
    " is",
    " the",
    " capital",
    " of",
    " Kenya",
    "?",
    " Mji",
    " mkuu",
    " wa",
    " ni",
    " upi",
    " राजधानी",
    "首都",
]
CHOICES, ANSWERS, TEXTS = "local_choices", "local_answers", "local_texts"

_TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}, cache_dir: {cache}}}
test_split: test
doc_to_text: "{{{{question}}}}"
target_delimiter: "{delimiter}"
"""
_CHOICES = """
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
# The stop strings are in no control token: lm-eval looks for them in those too, and ends a row only with its batch.
_ANSWERS = """
output_type: generate_until
doc_to_target: answer
generation_kwargs: {until: ["?", "K"], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
"""
_TEXTS = """
output_type: loglikelihood_rolling
doc_to_target: question
metric_list: [{metric: bits_per_byte}]
"""


def write_tasks(folder: Path, items: int = 100) -> Path:
    """A directory for `--include_path` with three tasks over the same seeded items."""
    draw = random.Random(5)
    rows = folder / "items.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number in range(items):
            choices = [_text(draw, 1 + place) for place in range(2 + number % 3)]
            item = {"question": _text(draw, draw.randint(2, 12)), "choices": choices, "gold": number % len(choices)}
            file.write(json.dumps(item | {"answer": choices[0]}) + "\n")
    for name, kind in {CHOICES: _CHOICES, ANSWERS: _ANSWERS, TEXTS: _TEXTS}.items():
        delimiter = " " if name == CHOICES else ""
        text = _TASK.format(name=name, rows=rows, cache=folder / "cache", delimiter=delimiter)
        if name == TEXTS:
            text = text.replace('doc_to_text: "{{question}}"', 'doc_to_text: ""')
        (folder / f"{name}.yaml").write_text(text + kind)
    return folder


def _text(draw: random.Random, words: int) -> str:
    return "".join(draw.choices(WORDS, k=words)).strip()
