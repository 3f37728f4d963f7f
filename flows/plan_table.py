"""What `cc-tuning plan` shows: each step with its fingerprint, whether the store has it, and what it will take."""

from collections.abc import Mapping

from rich.table import Table

from cc_tuning.pipeline.costs import Cost, estimate_costs
from cc_tuning.pipeline.estimates import Estimate, estimate_steps
from cc_tuning.pipeline.places import MISSING
from cc_tuning.pipeline.plan import Plan
from cc_tuning.runtime.device_table import Device
from cc_tuning.runtime.provenance import readable_bytes
from cc_tuning.runtime.sources import LocalSource, Source
from cc_tuning.runtime.step import find_cached
from data_contracts.store import ArtifactRef, ArtifactStore
from flows.tables import IN_MIRROR
from flows.terminal import console, escaped

_COLUMNS = ("stage", "fingerprint", "store", "rows", "tokens", "disk", "time", "device time", "memory")


def show_plan(
    plan: Plan, store: ArtifactStore, device: Device, in_mirror: frozenset[ArtifactRef] = frozenset()
) -> None:
    """One line per step: fingerprint, hit or miss, what it will take on `device`; then sums, and what is wrong.

    Of a miss it is said where it is one of those `in_mirror`.
    """
    estimates = estimate_steps(plan)
    finished = {step.fingerprint for step in plan if find_cached(step, store)}
    costs = estimate_costs(plan, finished, device)
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for step in plan:
        estimate, cost = estimates[step.fingerprint], costs[step.fingerprint]
        table.add_row(
            escaped(step.label),
            step.fingerprint[:12],
            "hit" if step.fingerprint in finished else IN_MIRROR if step.ref in in_mirror else "miss",
            estimate.rows_text,
            estimate.tokens_text,
            estimate.disk_text,
            duration_text(cost.seconds),
            duration_text(cost.device_seconds) if cost.devices else "",
            readable_bytes(int(cost.memory_bytes)) if cost.memory_bytes else "",
        )
    console.print(table)
    _show_sums(estimates, costs, store, device)
    for advice, labels in _by_advice(plan, costs).items():
        console.print(f"[yellow]{escaped(', '.join(labels))} will not fit:[/] {escaped(advice)}.", soft_wrap=True)
    for source in sorted({_missing_path(source) for step in plan for source in step.inputs.values()} - {""}):
        console.print(
            f"[yellow]{escaped(source)} is not there yet;[/] fingerprints that depend on it will change.",
            soft_wrap=True,
        )
    console.print(
        "Rows, tokens, disk, times and memory are estimates (docs/scale.md says how); ~ marks those of rows.",
        soft_wrap=True,
    )


def duration_text(seconds: float | None) -> str:
    """`40 s`, `12 min`, `4.1 h`, `1,200 h`; a question mark where it is unknown, nothing where there is none."""
    if seconds is None:
        return "?"
    if seconds == 0:
        return ""
    if seconds < 100:
        return f"{max(1.0, seconds):.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.1f} h"


def _show_sums(
    estimates: Mapping[str, Estimate], costs: Mapping[str, Cost], store: ArtifactStore, device: Device
) -> None:
    disk = [estimate.disk_bytes for estimate in estimates.values()]
    known = readable_bytes(sum(size for size in disk if size is not None))
    unknown = sum(size is None for size in disk)
    ending = f", and {unknown} stages unknown." if unknown else "."
    console.print(f"\nAbout {known} of disk in {escaped(str(store.root))}{ending}", soft_wrap=True)
    seconds = sum(cost.seconds or 0.0 for cost in costs.values())
    on_devices = sum(cost.device_seconds or 0.0 for cost in costs.values())
    open_steps = sum(cost.seconds is None for cost in costs.values())
    ending = f", and {open_steps} stages unknown" if open_steps else ""
    console.print(
        f"About {duration_text(seconds) or 'no time'} one after another, {duration_text(on_devices) or 'none'} of it "
        f"of devices ({escaped(device.kind)}; {escaped(device.source)}){ending}.",
        soft_wrap=True,
    )


def _by_advice(plan: Plan, costs: Mapping[str, Cost]) -> dict[str, list[str]]:
    """The labels of the steps that will not fit, by what to do."""
    found: dict[str, list[str]] = {}
    for step in plan:
        if advice := costs[step.fingerprint].advice:
            found.setdefault(advice, []).append(step.label)
    return found


def _missing_path(source: Source) -> str:
    return str(source.path) if isinstance(source, LocalSource) and source.sha256 == MISSING else ""
