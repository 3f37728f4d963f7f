"""What a judge is told, and what counts as its verdict.

The instruction and both answers go to the judge as one JSON object, so nothing that a model wrote can pass for a part
of the question. A verdict is one JSON object too, read strictly: a judge that says anything else has said nothing, and
is asked again. The words are this project's; that an answer in another language counts against it is from Lee et al.
2025, appendix C, as is that English instructions are judged without that clause.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

Winner = Literal["first", "second", "tie"]
Messages = list[dict[str, str]]

_SYSTEM = "You compare two answers to one instruction as a careful reader would, and say which one is better."
_TASK = (
    "Below is a JSON object with an instruction and two answers to it, called first and second. Which answer serves "
    "somebody who gave this instruction better: which is more helpful, more correct, and more to the point? Their "
    "order means nothing."
)
_CLAUSE = (
    "The answers are also judged by their language: where an answer is written in another language than the "
    "instruction, without being asked to, count that against it."
)
_FORM = 'Reply with one JSON object and nothing else: {"better": "first"}, {"better": "second"} or {"better": "tie"}.'


class NotAVerdict(ValueError):
    """A reply that is no verdict."""


def messages_for(instruction: str, first: str, second: str, with_clause: bool) -> Messages:
    """What a judge is told, as messages of a chat."""
    asked = json.dumps({"instruction": instruction, "first": first, "second": second}, ensure_ascii=False, indent=1)
    parts = [_TASK, *([_CLAUSE] if with_clause else []), asked, _FORM]
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}]


def verdict_of(reply: str) -> Winner:
    """The winner that a reply names, which is one JSON object with the one key `better`.

    Raises:
        NotAVerdict: it is anything else.
    """
    try:
        found: Any = json.loads(reply, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise NotAVerdict(f"no JSON object: {reply[:80]!r}") from error
    if not isinstance(found, Mapping) or set(found) != {"better"} or found["better"] not in get_args(Winner):
        raise NotAVerdict(f"not {{'better': first, second or tie}}: {reply[:80]!r}")
    winner: Winner = found["better"]
    return winner


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
