"""The parts of the report in the order of the page: what was measured, then what it rests on.

A part is a function of the evidence that gives a section, or None when it has nothing to show. Another one is its
function, in a file of this folder, and its place in `PARTS`.
"""

from collections.abc import Callable

from cc_tuning.document.blocks import Section
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.parts.ablations import ablation_part
from cc_tuning.report.parts.breakdowns import group_part, language_part, seed_part
from cc_tuning.report.parts.chosen_layers import chosen_layer_part
from cc_tuning.report.parts.connection import connection_part
from cc_tuning.report.parts.controls import control_part
from cc_tuning.report.parts.costs import cost_part
from cc_tuning.report.parts.embeddings import embedding_part
from cc_tuning.report.parts.explorer import explorer_part
from cc_tuning.report.parts.paper import paper_part
from cc_tuning.report.parts.records import data_part, making_part, rows_part
from cc_tuning.report.parts.results import measures_part, results_part, runs_part
from cc_tuning.report.parts.samples import sample_part
from cc_tuning.report.parts.sources import source_part
from cc_tuning.report.parts.summary import summary_part
from cc_tuning.report.parts.training import training_part
from cc_tuning.report.parts.transfer import transfer_part
from cc_tuning.report.parts.transform import transform_part

Part = Callable[[Evidence], Section | None]

PARTS: tuple[Part, ...] = (
    summary_part,
    runs_part,
    results_part,
    measures_part,
    seed_part,
    group_part,
    connection_part,
    control_part,
    ablation_part,
    transfer_part,
    paper_part,
    language_part,
    transform_part,
    embedding_part,
    training_part,
    chosen_layer_part,
    cost_part,
    explorer_part,
    sample_part,
    source_part,
    data_part,
    rows_part,
    making_part,
)
