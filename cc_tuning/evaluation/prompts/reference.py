"""docs/prompts.md: every prompt in every language as a model sees it, with three invented items each.

The page is for people who speak a language and judge its words. The items are hand-made for it: one file a language in
`docs/prompt_examples/`, all of them the same little world.
"""

import html
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.prompts.layouts import LAYOUTS, Layout
from cc_tuning.evaluation.prompts.rendering import option_labels, render
from cc_tuning.evaluation.prompts.vocabulary import languages, vocabulary_of
from cc_tuning.text.languages import by_iso639_1

_INTRODUCTION = """# The prompts of the benchmarks

Every prompt in every language, with three items each. The items are invented, and the same in all languages. What
stands around them is what the items of the real benchmarks get: it comes from
[`cc_tuning/evaluation/prompts/`](../cc_tuning/evaluation/prompts), one file of words a language and one order of lines
a benchmark. Who finds a word that no speaker would choose changes it in `cc_tuning/evaluation/prompts/words/` and runs
`make docs`. Other words are other prompts, so items with them are made again.

Where the paper has the benchmark, the order of lines follows its prompts; the words are this project's own.

- **Options** are numbered in the numerals that CLDR, the locale data of Unicode, gives the language in its likeliest
  country: Arabic-Indic in Arabic, Bengali in Bengali, 1 2 3 elsewhere. The scorers read digits of every script alike.
  Letters are A to D everywhere, as in the data's gold answers.
- **Punctuation** is that of the language: `؟ ، ۔ । ： （ ）`, the Greek question mark, no-break spaces in French,
  neither full stop nor question mark in Thai.
- **The last line** is the cue, whose last token is the one that the connection changes. No blank follows it.

<!-- The rest is made by `make docs` from the code and `docs/prompt_examples/`. -->
"""
_WORDS = ("premise", "hypothesis", "answer", "summary")


def prompts_page(examples: Path) -> str:
    """The text of docs/prompts.md; `examples` is the folder of the items, one file a language.

    Raises:
        ConfigError: a language has words and no items.
    """
    return "\n".join(
        [_INTRODUCTION, *_overview(), *(line for code in languages() for line in _language(code, examples))]
    )


def example_items(path: Path) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Three items of every benchmark as the fields of their prompts, from one file of `docs/prompt_examples/`.

    Raises:
        ConfigError: there is no such file.
    """
    if not path.exists():
        raise ConfigError(f"there are no items for the prompts of language {path.stem!r}: {path} does not exist")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    questions = [{"question": question} for question in table["questions"]]
    passage = table["passage"]
    articles = [{"title": table["passage_title"], "text": passage}, *table["articles"]]
    return {
        "XNLI": [{"premise": table["premise"], "hypothesis": hypothesis} for hypothesis in table["hypotheses"]],
        "XStoryCloze": table["stories"],
        "MMMLU": table["choices"],
        "MKQA": questions,
        "XQuAD": [{"context": passage, "question": item["question"]} for item in table["passage_choices"]],
        "XLSum": articles,
        "BELEBELE": [{"passage": passage, **item} for item in table["passage_choices"]],
        "GlobalMMLU": table["choices"],
        "INCLUDE": table["choices"],
        "MGSM": [{"question": problem} for problem in table["problems"]],
    }


def _overview() -> Iterator[str]:
    yield f"| language | numbers | {' | '.join(_WORDS)} | relations |"
    yield "|---" * (len(_WORDS) + 3) + "|"
    for code in languages():
        vocabulary = vocabulary_of(code)
        words = " | ".join(vocabulary.names[name] for name in _WORDS)
        numbers = " ".join(option_labels("XNLI", code))
        name = by_iso639_1(code).name
        yield f"| [{name}](#{_anchor(name)}) | {numbers} | {words} | {', '.join(vocabulary.relations.values())} |"
    yield ""


def _language(code: str, examples: Path) -> Iterator[str]:
    language, items = by_iso639_1(code), example_items(examples / f"{code}.toml")
    direction = "rtl" if language.right_to_left else "ltr"
    yield f"## {language.name}\n"
    for names in _benchmarks():
        yield f"**{', '.join(names)}**\n"
        for fields in items[names[0]]:
            prompt = html.escape(render(names[0], code, fields), quote=False)
            yield f'<pre lang="{language.tag}" dir="{direction}">{prompt}</pre>\n'


def _benchmarks() -> Iterator[list[str]]:
    """The benchmarks in their order; those with one prompt stand together."""
    seen: list[Layout] = []
    for layout in LAYOUTS.values():
        if layout not in seen:
            seen.append(layout)
            yield [name for name, other in LAYOUTS.items() if other == layout]


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(prompts_page(Path(sys.argv[1])), encoding="utf-8")
