"""Records reach the page's script whole, each text once, and never take more room than they are given."""

import base64
import json
import random
import zlib
from typing import Any

from cc_tuning.document.blocks import Explorer, Facet, Passage, Record, RecordAnswer
from cc_tuning.document.packed import fitted, packed
from cc_tuning.document.visible import visible
from tests.document.test_document import HOSTILE


def explorer_of(records: list[Record]) -> Explorer:
    facets = [Facet("kind", "Kind", [("a", "first"), ("b", "second")])]
    return Explorer("made", "Made", facets, ["one", "two"], records, "note", (0, 1))


def record_of(name: str, kind: str, text: str) -> Record:
    passage = Passage("prompt", text, "ur-Arab", "rtl")
    return Record(name, [kind], [passage], [text], "ur-Arab", "rtl", [RecordAnswer(text, 1.5, "right", "n"), None])


def unpacked(explorer: Explorer) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed(explorer))))
    return content


def test_unpacked_records_are_those_that_were_packed() -> None:
    content = unpacked(explorer_of([record_of("r1", "b", HOSTILE), record_of("r2", "a", "x")]))
    strings = content["strings"]
    assert content["facets"] == [["Kind", ["first", "second"]]]
    assert (content["answerers"], content["compared"]) == (["one", "two"], [0, 1])
    for record, name, kind, text in zip(content["records"], ("r1", "r2"), (1, 0), (visible(HOSTILE), "x"), strict=True):
        place, facets, tag, direction, [passage], [expected], [answer, missing] = record
        assert (strings[place], facets, tag, direction) == (name, [kind], "ur-Arab", "rtl")
        assert (strings[passage[0]], strings[passage[1]], passage[2:]) == ("prompt", text, ["ur-Arab", "rtl"])
        assert strings[expected] == strings[answer[0]] == text
        assert (strings[answer[1]], strings[answer[2]], answer[3], missing) == ("right", "n", 1.5, None)


def test_a_text_that_stands_often_is_kept_once() -> None:
    strings = unpacked(explorer_of([record_of("r", "a", "same") for _ in range(5)]))["strings"]
    assert sorted(strings) == sorted({"r", "prompt", "same", "right", "n"})


def test_as_many_of_the_first_records_are_kept_as_there_is_room_for() -> None:
    draw = random.Random(0)
    texts = ["".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(400)) for _ in range(60)]
    whole = explorer_of([record_of(f"r{at}", "a", text) for at, text in enumerate(texts)])
    size = len(packed(whole))
    assert fitted(whole, size).records == whole.records
    small = fitted(whole, size // 3)
    assert len(packed(small)) <= size // 3
    assert 10 < len(small.records) < 25
    assert list(small.records) == list(whole.records)[: len(small.records)]
    assert not fitted(whole, 1).records
