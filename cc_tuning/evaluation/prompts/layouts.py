"""What stands in which line of a benchmark's prompt, in every language alike.

`{field}` is a text of the item and `<word>` one of the language's file in `words/`. Where the paper has the benchmark,
the order is that of its prompts: what is given, what is asked, the options, and at the very end the cue, whose last
token is the one that the connection changes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_tuning.errors import ConfigError

SLOT = re.compile(r"\{(?P<field>\w+)\}|<(?P<word>\w+)>")
NUMBERS_OF_RELATIONS = ("1", "2", "3")
NUMBERS_OF_ENDINGS = ("1", "2")
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The lines of one benchmark's prompt."""

    text: str
    options: tuple[str, ...] = ()
    """What the gold answers of the data call the options, in their order."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many texts a field has, where it is a list."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the item's texts, in the order of the prompt."""
        return tuple(match["field"] for match in SLOT.finditer(self.text) if match["field"])

    @property
    def words(self) -> tuple[str, ...]:
        """The names of the language's words, in the order of the prompt."""
        return tuple(match["word"] for match in SLOT.finditer(self.text) if match["word"])


_MULTIPLE_CHOICE = Layout(
    text="""\
<ask_choice>

{question}
{options}

<ask_letter>
<answer>""",
    options=LETTERS,
    sizes={"options": 4},
)

LAYOUTS: Mapping[str, Layout] = {
    "XNLI": Layout(
        text="""\
<premise>{premise}
<hypothesis>{hypothesis}

<ask_relation>
<relations>

<ask_number>
<answer>""",
        options=NUMBERS_OF_RELATIONS,
    ),
    "XStoryCloze": Layout(
        text="""\
<story>{sentences}

<ask_ending>
{endings}

<ask_number>
<answer>""",
        options=NUMBERS_OF_ENDINGS,
        sizes={"sentences": 4, "endings": 2},
    ),
    "MMMLU": _MULTIPLE_CHOICE,
    "MKQA": Layout(
        text="""\
<ask_short_answer>

{question}

<answer>"""
    ),
    "XQuAD": Layout(
        text="""\
<ask_words_of_passage>

<passage>{context}
<question>{question}

<answer>"""
    ),
    "XLSum": Layout(
        text="""\
<ask_summary>

<title>{title}
<article>{text}

<summary>"""
    ),
    "BELEBELE": Layout(
        text="""\
<ask_reading>

<passage>{passage}
<question>{question}
{options}

<ask_letter>
<answer>""",
        options=LETTERS,
        sizes={"options": 4},
    ),
    "GlobalMMLU": _MULTIPLE_CHOICE,
    "INCLUDE": _MULTIPLE_CHOICE,
    "MGSM": Layout(
        text="""\
<ask_result>

{question}

<answer>"""
    ),
}


def layout_of(benchmark: str) -> Layout:
    """The lines of a benchmark's prompt.

    Raises:
        ConfigError: no benchmark with a prompt has this name.
    """
    if benchmark not in LAYOUTS:
        raise ConfigError(
            f"benchmark {benchmark!r} has no prompt; those that have one are {', '.join(LAYOUTS)}. "
            f"A new one gets its lines in {__name__}"
        )
    return LAYOUTS[benchmark]
