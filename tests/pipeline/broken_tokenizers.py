"""Broken tokenizers and chat templates, made by rule."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pipeline.breaking import Harm, Variant, changed, cut, removed, written

TEMPLATE = "base/chat_template.jinja"


def _in_tokenizer(*place: str, value: Any = None) -> Harm:
    def harm(project: Path, _draw: random.Random) -> None:
        path = project / "base" / "tokenizer.json"
        content = json.loads(path.read_text())
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        path.write_text(json.dumps(content))

    return harm


def of_templates() -> Iterator[Variant]:
    """Chat templates: no Jinja, endless, or dependent on what is said."""
    turn = "{{ m['role'] }}<|end_header_id|>{{ m['content'] }}<|eot_id|>"
    loop = "{% for m in messages %}" + turn + "{% endfor %}"
    for name, template in {
        "empty": "", "cut": loop[:40], "no Jinja": "{% for %}", "a name nobody gives": loop + "{{ nobody.said }}",
        "a filter nobody has": loop + "{{ 'x' | nofilter }}", "refusing": "{{ raise_exception('not me') }}",
        "needing a system turn": "{{ messages[0]['content'] if messages[0]['role'] == 'system' else 1 / 0 }}" + loop,
        "without the answer": "{{ messages[0]['content'] }}<|eot_id|>", "without the question": "<|eot_id|>",
        "with everything twice": loop + loop,
        "trimming what it should not": loop.replace("m['content']", "m['content'] | upper"),
        "looking into the text": loop + "{% if messages[0]['content'] == '2' %}!{% endif %}",
        "ending in plain text": loop.replace("<|eot_id|>", " end "),
        "of another family": loop.replace("<|eot_id|>", "<|im_end|>"),
        "of another prompt for given answers": loop + "{% if add_generation_prompt %}<|start_header_id|>x{% endif %}",
        "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + loop,
        "of ten gigabytes": "{{ 'a' * (100000 * 100000) }}" + loop,
        "of ten gigabytes, by a filter": "{{ 'a' | center(10000000000) }}" + loop,
        "a power of a power": "{{ 10 ** 10 ** 10 }}" + loop,
        "calling itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" + loop,
    }.items():  # fmt: skip
        yield Variant(f"the template is {name}", "model.base", written(TEMPLATE, template))
    yield Variant("the template is no UTF-8", "model.base", written(TEMPLATE, b"\xff\xfe\xfa"))
    yield Variant("the template is absent", "model.base", removed(TEMPLATE))


def of_tokenizers() -> Iterator[Variant]:
    """Tokenizers: damaged, without parts, or of another model."""
    file = "base/tokenizer.json"
    yield Variant("the tokenizer is cut", "model.base", cut(file))
    yield Variant("the tokenizer is absent", "model.base", removed(file))
    for name, content in {
        "empty": "",
        "a list": "[]",
        "null": "null",
        "an object": "{}",
        "no UTF-8": b"\xff\xfe",
    }.items():
        yield Variant(f"the tokenizer is {name}", "model.base", written(file, content))
    for place in (("model",), ("model", "vocab"), ("model", "merges"), ("added_tokens",)):
        for name, value in {"null": None, "a number": 7, "a word": "x"}.items():
            yield Variant(
                f"{'.'.join(place)} of the tokenizer is {name}", "model.base", _in_tokenizer(*place, value=value)
            )
    yield Variant(
        "merges name tokens that are not there", "model.base", _in_tokenizer("model", "merges", value=["zz qq"])
    )
    yield Variant(
        "a pre-tokenizer has a pattern that is none",
        "model.base",
        _in_tokenizer(
            "pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
        ),
    )
    settings = "base/tokenizer_config.json"
    for name, content in {"cut": '{"eos_', "a list": "[]", "null": "null", "no UTF-8": b"\xff\xfe"}.items():
        yield Variant(f"tokenizer_config.json is {name}", "model.base", written(settings, content))
    yield Variant(
        "there is neither padding nor an end of text", "model.base", changed(settings, eos_token=None, pad_token=None)
    )
    yield Variant(
        "the tokenizer needs code",
        "model.base",
        changed(settings, auto_map={"AutoTokenizer": ["code.Mine", None]}, tokenizer_class="Mine"),
    )
    yield Variant("a control token is a number", "model.base", changed(settings, eos_token=5))
