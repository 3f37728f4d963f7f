"""Runs as values: what is trained on what, against which baseline it is held, and which keys of the recipe it changes.

The eight rows of the paper's Table 1 (Ye et al. 2025), the base model they start from, and the runs of Lee et al. 2025
(CLO and what it is compared with) are a table of such values.
A recipe names them, or spells runs of its own: `{name: cc-mean, like: cc-tuning, set: {connection.selector: mean}}`.
Nothing is ever read out of a run's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from cc_tuning.training.objectives.table import OBJECTIVES, ObjectiveName
from cc_tuning.training.rows.config import EnglishText, Setting


class RunSpec(BaseModel):
    """One run of a recipe. It is trained, or it is a checkpoint from elsewhere, or it is the base model as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.+-]*$", max_length=100, description="Its name in commands, files and tables."
    )
    label: str = Field(default="", description="Its name on the report's page; unset, `name`.")
    objective: ObjectiveName | None = Field(
        default="sft", description="What training minimises, and which weights; null: it is not trained."
    )
    data: Setting = Field(default="plain", description="Its training rows: the pairs, and what is added to them.")
    english: EnglishText = Field(
        default="none",
        description="Whether its training prompts begin with their English version as text (`context`); such a run is "
        "evaluated in the mode `context` too.",
    )
    connected: bool = Field(default=False, description="Whether it is trained with the cross-lingual connection.")
    start: str = Field(
        default="",
        description="The run whose checkpoint it starts from, and its reference model; none: the base model.",
    )
    baseline: str = Field(default="", description="The run that it is held against in the report; none: none.")
    set: dict[str, Any] = Field(default_factory=dict, description="Keys of the recipe that differ in this run.")
    checkpoint: str = Field(default="", description="Directory or hub id of a model that was trained elsewhere.")
    revision: str = Field(default="", description="Commit of a hub id.")

    @model_validator(mode="after")
    def _is_one_of_the_three(self) -> "RunSpec":
        if self.checkpoint and self.is_trained:
            raise ValueError(
                f"run {self.name} has a checkpoint, so it is not trained here; leave out `objective` and `like`"
            )
        if not self.is_trained and (self.connected or self.data != "plain" or self.english != "none"):
            raise ValueError(
                f"run {self.name} is not trained here, so it has no training rows and no connection of its own; leave "
                "out `data`, `english` and `connected`, or give it an `objective`"
            )
        if self.revision and not self.checkpoint:
            raise ValueError(f"run {self.name} has a revision, but no checkpoint that it could be of")
        if self.start and not self.is_trained:
            raise ValueError(
                f"run {self.name} starts from run {self.start!r}, but it is not trained; leave out `start`"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_those_of_the_objective(self) -> "RunSpec":
        is_of_pairs = self.objective is not None and OBJECTIVES[self.objective].is_of_pairs
        if is_of_pairs != (self.data == "preference"):
            fitting = [name for name, row in OBJECTIVES.items() if row.is_of_pairs == (self.data == "preference")]
            raise ValueError(
                f"run {self.name}: objective {self.objective!r} cannot read the rows of `data: {self.data}`; "
                f"give {'`data: preference`' if is_of_pairs else 'other data'}, or one of the objectives "
                f"{', '.join(fitting)}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_distilled_has_a_connection(self) -> "RunSpec":
        if self.objective is not None and OBJECTIVES[self.objective].distils and not self.connected:
            raise ValueError(
                f"run {self.name}: objective {self.objective!r} learns from what the model says with its connection; "
                "set `connected: true`, or take the objective `sft`"
            )
        return self

    @model_validator(mode="after")
    def _english_comes_in_one_way(self) -> "RunSpec":
        if self.english == "none":
            return self
        if self.connected or self.data == "preference":
            other = "`connected: true`" if self.connected else "`data: preference`"
            raise ValueError(
                f"run {self.name}: `english: {self.english}` puts the English version into the prompt as text, which "
                f"does not go with {other}; leave one of the two out"
            )
        return self

    @property
    def is_trained(self) -> bool:
        """Whether this recipe trains it."""
        return self.objective is not None

    @property
    def title(self) -> str:
        """What it is called on a page."""
        return self.label or self.name


_SFT = ("ml-sft", "ML-SFT")
_CC = ("cc-tuning", "CC-Tuning")


def _row(method: tuple[str, str], data: Setting, baseline: str) -> RunSpec:
    added = "" if data == "plain" else data
    name, label = method
    return RunSpec(
        name=f"{name}+{added}" if added else name,
        label=f"{label} +{added.upper()}" if added else label,
        data=data,
        connected=method is _CC,
        baseline=baseline,
    )


def _of_pairs(name: str, label: str, objective: ObjectiveName, baseline: str, **fields: Any) -> RunSpec:
    return RunSpec(name=name, label=label, objective=objective, data="preference", baseline=baseline, **fields)


KNOWN_RUNS: Mapping[str, RunSpec] = {
    run.name: run
    for run in (
        RunSpec(name="base", label="Base model", objective=None),
        _row(_SFT, "plain", baseline="base"),
        _row(_SFT, "en", baseline="ml-sft"),
        _row(_SFT, "mt", baseline="ml-sft"),
        _row(_SFT, "sdrrl", baseline="ml-sft"),
        _row(_CC, "plain", baseline="ml-sft"),
        _row(_CC, "en", baseline="ml-sft+en"),
        _row(_CC, "mt", baseline="ml-sft+mt"),
        _row(_CC, "sdrrl", baseline="ml-sft+sdrrl"),
        RunSpec(name="context", label="English in the prompt", english="context", baseline="ml-sft"),
        RunSpec(
            name="cc-distil", label="CC-Tuning, distilled", objective="cc-distil", connected=True, baseline="cc-tuning"
        ),
        _of_pairs("sft", "SFT", "sft-both", baseline="base"),
        _of_pairs("sft-eng", "SFT-eng", "sft-eng", baseline="sft"),
        _of_pairs("sft-tgt", "SFT-tgt", "sft-tgt", baseline="sft"),
        _of_pairs("sft+dpo", "SFT+DPO", "dpo", baseline="sft", start="sft"),
        _of_pairs("clo", "CLO", "clo", baseline="sft"),
        _of_pairs("clo+cc", "CLO with the connection", "clo", baseline="clo", connected=True),
    )
}
"""The base model, not tuned; the paper's Table 1, where CC-Tuning is held against ML-SFT on the same data; and CLO
beside what Lee et al. 2025 compare it with, all on the same pairs. CLO with the connection is in neither paper, nor are
`context`, ML-SFT that reads the English version as text, a reference for what a connection could carry, and
`cc-distil`, whose answers with the connection off are the ones to look at."""


def read_runs(written: object) -> tuple[RunSpec, ...]:
    """The runs of a recipe as its author wrote them: names, and mappings with a `name`.

    Raises:
        ValidationError: a run has a key or a value that no run has; its place in the list is in the error's location.
        ValueError: a run is unknown, stands twice, is like itself or like one that is not known before it, or has the
            name of one of the paper's and is another.
    """
    if isinstance(written, str) or not isinstance(written, Sequence):
        raise ValueError(f"expected a list of runs, got {written!r}; as in `runs: [ml-sft, cc-tuning]`")
    if not written:
        raise ValueError("the list is empty; expected one run or more, as in `runs: [ml-sft, cc-tuning]`")
    runs: dict[str, RunSpec] = {}
    for place, each in enumerate(written):
        try:
            run = each if isinstance(each, RunSpec) else _read_run(each, {**KNOWN_RUNS, **runs})
        except ValidationError as error:
            raise _at(place, error) from error
        if run.name in runs:
            raise ValueError(f"run {run.name} stands twice; give the second another name")
        if run.name in KNOWN_RUNS and not _is_known(run):
            raise ValueError(f"run {run.name} is not the run that this name has everywhere else; give it another name")
        runs[run.name] = run
    titles: dict[str, str] = {}
    for run in runs.values():
        if titles.setdefault(run.title, run.name) != run.name:
            raise ValueError(f"runs {titles[run.title]} and {run.name} have one label, {run.title!r}; change one")
        if run.baseline == run.name:
            raise ValueError(f"run {run.name} is held against itself; leave out `baseline`, or name another run")
        if run.baseline and run.baseline not in {**KNOWN_RUNS, **runs}:
            raise ValueError(f"run {run.name} is held against {run.baseline!r}, which is no run; {_known(runs)}")
        _check_start(run, {**KNOWN_RUNS, **runs})
    return tuple(runs.values())


def _check_start(run: RunSpec, known: Mapping[str, RunSpec]) -> None:
    seen = {run.name}
    while run.start:
        if run.start not in known:
            raise ValueError(f"run {run.name} starts from {run.start!r}, which is no run; {_known(known)}")
        start = known[run.start]
        if start.name in seen:
            raise ValueError(f"run {run.name} starts from {start.name!r}, which starts from it; leave out one `start`")
        if not start.is_trained or start.connected:
            raise ValueError(
                f"run {run.name} starts from {start.name!r}; expected a run that is trained here, without a connection"
            )
        seen.add(start.name)
        run = start


def _read_run(written: object, known: Mapping[str, RunSpec]) -> RunSpec:
    if isinstance(written, str):
        if written not in known:
            raise ValueError(f"unknown run {written}; {_known(known)}")
        return known[written]
    if not isinstance(written, Mapping) or not isinstance(written.get("name"), str):
        raise ValueError(f"a run is a name or a mapping with a `name` of text, got {written!r}")
    values = dict(written)
    name, like = values["name"], values.pop("like", None)
    values["set"] = _dotted(values.get("set") or {}, name)
    if like is None:
        start: dict[str, Any] = {"objective": None} if values.get("checkpoint") else {}
        return RunSpec(**start | values)
    if like == name:
        raise ValueError(f"run {name} is like itself; {_known(known)}")
    if not isinstance(like, str) or like not in known:
        raise ValueError(f"run {name} is like {like!r}, which is not known before it; {_known(known)}")
    start = known[like].model_dump(exclude={"name", "label"})
    changes = start.pop("set") | values.pop("set")
    return RunSpec(**start | values, set=changes)


def _dotted(written: object, name: str) -> dict[str, Any]:
    """`{training: {epochs: 1}}` as `{training.epochs: 1}`, so that a section's other keys stay what they are."""
    if not isinstance(written, Mapping) or not all(isinstance(key, str) for key in written):
        raise ValueError(f"run {name}: `set` is a mapping of keys, as in `{{training.epochs: 1}}`, got {written!r}")
    dotted: dict[str, Any] = {}
    for key, value in written.items():
        is_section = isinstance(value, Mapping)
        dotted |= {f"{key}.{at}": each for at, each in _dotted(value, name).items()} if is_section else {key: value}
    return dotted


def _is_known(run: RunSpec) -> bool:
    """Whether it is the run of its name in the table, whatever it is called on a page and held against.

    A name of the table stands for a row of the paper, and is compared with that row.
    """
    update = {"label": run.label, "baseline": run.baseline}
    return KNOWN_RUNS[run.name].model_copy(update=update) == run


def _at(place: int, error: ValidationError) -> ValidationError:
    """The same errors, their location beginning with a place in the list."""
    details = [
        InitErrorDetails(type=each["type"], loc=(place, *each["loc"]), input=each["input"], ctx=each.get("ctx", {}))
        for each in error.errors()
    ]
    return ValidationError.from_exception_data(error.title, details)


def _known(known: Mapping[str, RunSpec]) -> str:
    return f"known: {', '.join({**KNOWN_RUNS, **known})}"


def as_written(run: RunSpec) -> str | dict[str, Any]:
    """The shortest form of a run that `read_runs` reads back to it."""
    if KNOWN_RUNS.get(run.name) == run:
        return run.name
    return run.model_dump(exclude_defaults=True)


def baseline_of(run: RunSpec, runs: Sequence[RunSpec]) -> str:
    """The run among `runs` that `run` is held against: its baseline, or that one's own where it is not there; or ''."""
    known = {**KNOWN_RUNS, **{each.name: each for each in runs}}
    there = {each.name for each in runs} - {run.name}
    name, seen = run.baseline, set[str]()
    while name and name not in there and name not in seen:
        seen.add(name)
        name = known[name].baseline
    return name if name in there else ""
