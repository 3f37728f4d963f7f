"""The runs of a recipe side by side, as Markdown, from what lies in its store: what each gains where nothing English is
given, what its connection carries, and what it costs; once for test items and once for the items that one chooses by.

    python benchmarks/steps.py recipes/connections.yaml
    python benchmarks/steps.py recipes/connections.yaml --set evaluation.items=miniature/development
    python benchmarks/connections.py recipes/connections.yaml --development evaluation.items=miniature/development \
        --into docs/connections.md

writes the tables between the two marks of the page. Nothing is computed again but seconds: all connections answer the
same prompts in turn, round after round, and a figure is the median over rounds. A run counts when all of its seeds are
there. `--set` overrides keys of both, as for the other commands.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from generation import draw_prompts
from timing import in_turn
from torch import Tensor

from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.model.checkpoint import CONNECTION_FILE, read_tensors
from cc_tuning.model.transform_file import read_transform_matrix
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.report.config import Family, ReportConfig
from cc_tuning.report.connection_modes import OTHER, ConnectionModes, signed
from cc_tuning.report.effects import Gain, gain_of
from cc_tuning.report.names import AS_TEXT, CONNECTION_LABELS, OFF, PARALLEL, PIVOT, TRANSFORM
from cc_tuning.report.results import Results
from cc_tuning.report.run_evidence import read_run
from cc_tuning.report.scores import Bootstrap, Measure, Variant
from cc_tuning.runtime.sources import Location
from data_contracts.files import read_json
from data_contracts.layout import CHECKPOINT, DIAGNOSTICS, TRANSFORM_MATRIX
from data_contracts.store import ArtifactStore

BEGIN, END = "<!-- tables: benchmarks/connections.py -->", "<!-- end of tables -->"
PAPER, PLAIN = "cc-tuning", "ml-sft"
"""The runs that others are held against."""
NONE = "–"
_ARROWS = {"better": " ▲", "worse": " ▼", "undecided": ""}


@dataclass(frozen=True)
class Found:
    """What the store holds of a plan."""

    modes: ConnectionModes
    results: Results
    score: Measure
    likelihood: Measure
    missing: tuple[str, ...]
    """Runs of which a seed was not evaluated."""

    def over(self, minuend: Variant, subtrahend: Variant, measure: Measure) -> Gain | None:
        """What one run gains over another; positive is better."""
        there = self.results.variants
        if minuend == subtrahend or minuend not in there or subtrahend not in there:
            return None
        (found,) = self.results.comparisons([(minuend, subtrahend)], [measure])
        return gain_of(found)

    def connected(self) -> tuple[Family, ...]:
        """The runs with a connection."""
        return tuple(family for family in self.modes.families if PARALLEL in self.modes.of(family))


def find(plan: Plan) -> Found:
    """Scores of the runs all of whose seeds are in the store.

    Raises:
        SystemExit: none is.
    """
    config, store = plan.report.config, ArtifactStore(plan.recipe.execution.store)
    assert isinstance(config, ReportConfig)
    absent = {run.spec.name for run in plan.runs if not store.is_there(run.evaluate.ref)}
    reported = [run for run in config.runs if run.family not in absent]
    folders = {run.name: str(store.folder(run.evaluate.ref)) for run in plan.runs}
    families = tuple(family for family in config.families if family.name not in absent)
    evidence = [read_run(run, {f"evaluate/{run.name}": Location(folders[run.name])}) for run in reported]
    if not evidence:
        raise SystemExit(f"{store.root}: no run of {config.name} was evaluated with all of its seeds")
    results = Results(families, evidence, Bootstrap(config.bootstrap_samples, config.confidence, config.seed))
    modes = ConnectionModes(results)
    return Found(modes, results, results.headline_measures[0], modes.likelihood_measures[0], tuple(sorted(absent)))


def carried_rows(found: Found) -> Iterator[list[str]]:
    """By connected run, in nats a token: gains over off, content, and the share of `parallel` that the map reaches."""
    yield ["run", "transform − off", "parallel − off", "content: parallel − other", "share of parallel by transform"]
    at, modes = found.likelihood, found.modes
    for family in found.connected():
        gains = [modes.gain(family, at, mode) for mode in (TRANSFORM, PARALLEL)]
        share = modes.share(family, at)
        reached = f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]" if share else NONE
        yield [family.label, *(_gain(gain, at) for gain in (*gains, modes.gain(family, at, PARALLEL, OTHER))), reached]


def answered_rows(found: Found) -> Iterator[list[str]]:
    """By connected run: the score of each mode, and of `transform` the difference to ML-SFT and the paper's one."""
    head = ["run", "off, %", "transform, %", "parallel, %", "transform − ML-SFT, points", "the same, nats"]
    yield [*head, "off − ML-SFT, nats", "transform − the paper's, points", "the same, nats"]
    plain, paper = Variant(PLAIN, OFF), Variant(PAPER, TRANSFORM)
    for family in found.connected():
        off, through = Variant(family.name, OFF), Variant(family.name, TRANSFORM)
        scores = [_score(found, Variant(family.name, mode)) for mode in (OFF, TRANSFORM, PARALLEL)]
        asked = ((through, plain, found.score), (through, plain, found.likelihood), (off, plain, found.likelihood))
        asked += ((through, paper, found.score), (through, paper, found.likelihood))
        yield [family.label, *scores, *(_gain(found.over(a, b, measure), measure) for a, b, measure in asked)]


def competitor_rows(found: Found) -> Iterator[list[str]]:
    """ML-SFT itself, and whatever reads English text or a translator's English."""
    head = ["run", "asked with", "right, %", "− ML-SFT, points", "the same, nats"]
    yield [*head, "− the paper's transform, points", "the same, nats"]
    competitors = [at for at in found.results.variants if at.connection in (*AS_TEXT, PIVOT)]
    for at in (Variant(PLAIN, OFF), *competitors):
        if at in found.results.variants:
            others = (Variant(PLAIN, OFF), Variant(PAPER, TRANSFORM))
            gains = [(found.over(at, other, of), of) for other in others for of in (found.score, found.likelihood)]
            label = found.results.family(at.family).label
            asked = CONNECTION_LABELS[at.connection] if at in competitors else "the prompt alone"
            yield [label, asked, _score(found, at), *(_gain(gain, of) for gain, of in gains)]


def cost_rows(plan: Plan, found: Found, prompts: int, rounds: int, seconds: float) -> Iterator[list[str]]:
    """By connected run: numbers that it adds to the model, and milliseconds a prompt, off and through its map."""
    yield [
        "run",
        "numbers of the connection",
        "numbers of the map",
        "off, ms a prompt",
        "transform, ms a prompt",
        "ratio",
    ]
    store, sides = ArtifactStore(plan.recipe.execution.store), dict[str, Callable[[], object]]()
    numbers: dict[str, tuple[int, int]] = {}
    for family in found.connected():
        run = next(run for run in plan.runs if run.name == family.runs[0].name)
        assert run.train and run.transform
        checkpoint, fitted = store.folder(run.train.ref) / CHECKPOINT, store.folder(run.transform.ref)
        model = CrossLingualModel.from_pretrained(checkpoint)
        transform = read_transform_matrix(fitted / TRANSFORM_MATRIX)
        model.set_transform(transform)
        # random prompts have no language
        languages = ["mean"] * prompts if transform.languages else None
        drawn = draw_prompts(model, prompts, 24)
        tokens = plan.recipe.evaluation.max_new_tokens
        modes: tuple[ConnectionMode, ...] = ("off", "transform")
        for mode in modes:
            sides[f"{family.name} {mode}"] = _answering(model, mode, drawn, tokens, languages)
        own = sum(tensor.numel() for tensor in read_tensors(checkpoint / CONNECTION_FILE).values())
        numbers[family.name] = own, read_json(fitted / DIAGNOSTICS)["parameters"]
    timings = in_turn(sides, rounds, seconds)
    for family in found.connected():
        off, through = ([cpu for _, cpu in timings[f"{family.name} {mode}"]] for mode in (OFF, TRANSFORM))
        ratio = statistics.median(b / a for a, b in zip(off, through, strict=True))
        times = [f"{1000 * statistics.median(of) / prompts:.2f}" for of in (off, through)]
        yield [family.label, *(f"{number:,}" for number in numbers[family.name]), *times, f"{ratio:.2f}"]


def _answering(
    model: CrossLingualModel, mode: ConnectionMode, prompts: Tensor, tokens: int, languages: list[str] | None
) -> Callable[[], object]:
    """Greedy answers of so many tokens; maps that ask for it are told the languages, and that no prompt is English."""
    settings: dict[str, object] = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    if languages and mode == "transform":
        settings["languages"] = languages
    if mode == "transform" and model.connection.english == "identity":
        settings["english_rows"] = torch.zeros(len(prompts), dtype=torch.bool)
    return partial(model.generate, prompts, torch.ones_like(prompts), connection=mode, **settings)


def _gain(gain: Gain | None, measure: Measure) -> str:
    if gain is None:
        return NONE
    ends = f"[{signed(gain.low, measure)}, {signed(gain.high, measure)}]"
    return f"{signed(gain.value, measure)}{_ARROWS[gain.verdict]} {ends}"


def _score(found: Found, variant: Variant) -> str:
    score = found.results.score(variant, found.score) if variant in found.results.variants else None
    return f"{score.value:.1f}" if score else NONE


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown, its first row the head."""
    head, *body = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return [head, f"|---|{'---:|' * (len(rows[0]) - 1)}", *body, ""]


def tables_of(title: str, found: Found) -> list[str]:
    """The tables of one set of items."""
    items = found.results.items_per_cell[0]
    seeds = max(family.seeds for family in found.results.families)
    lines = [f"### {title}: {items} items of {found.score.benchmark} in each language, {seeds} seeds", ""]
    for name, rows in (("What is carried", carried_rows), ("Answers", answered_rows), ("Others", competitor_rows)):
        lines += [f"**{name}.**", "", *grid(list(rows(found)))]
    return lines


def put_between(page: str, lines: Sequence[str]) -> str:
    """The page with `lines` between its two marks.

    Raises:
        SystemExit: it does not have both, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page has not both of the lines {BEGIN} and {END}, one after the other; add them")
    return f"{before}{BEGIN}\n\n{chr(10).join(lines).strip()}\n\n{END}{after}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recipe", type=Path)
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe")
    options.add_argument(
        "--development", nargs="+", default=[], metavar="KEY=VALUE", help="what makes it ask those items"
    )
    options.add_argument("--into", type=Path, help="a page with the two marks; otherwise the tables are printed")
    options.add_argument("--prompts", type=int, default=32, help="timed together")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--seconds", type=float, default=300, help="no round begins after so many seconds")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    overrides = {"Development": [*arguments.set, *arguments.development], "Test": arguments.set}
    for title, changes in overrides.items():
        if title == "Test" or arguments.development:
            plan = plan_recipe(load_recipe(arguments.recipe, changes))
            found = find(plan)
            lines += tables_of(title, found)
            if found.missing:
                print(f"{title}: left out, since a seed of them is not there: {', '.join(found.missing)}")
    costs = list(cost_rows(plan, found, arguments.prompts, arguments.rounds, arguments.seconds))
    lines += ["### What it costs", "", *grid(costs)]
    if arguments.into:
        arguments.into.write_text(put_between(arguments.into.read_text("utf-8"), lines), encoding="utf-8")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
