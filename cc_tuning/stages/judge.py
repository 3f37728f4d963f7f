"""Stage `judge`: the answers of a run beside those of its baseline, and how often they are the better ones.

Each item is judged in both orders of the two answers, since judges favour a place. The judge is a model behind an
address (`execution.judge_address`) or a fixed rule. Verdicts of a model are kept outside of the artifact, in
`execution.judgements`, so that another recipe, or this one after a kill, pays for none twice. Questions without a
verdict stop the stage, which keeps all others, unless `execution.open_judgements_limit` allows so many; they are
counted then.

Files: `judgements.parquet` (Judgement), `win_rates.parquet` (WinRate), `judge.json` (who judged, and how often).
"""

import logging

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.items import load_items
from cc_tuning.evaluation.judge.asking import Patience
from cc_tuning.evaluation.judge.client import OpenAICompatibleJudge
from cc_tuning.evaluation.judge.comparing import judge_by_rule, judge_with_model, paired_answers
from cc_tuning.evaluation.judge.config import RunJudging
from cc_tuning.evaluation.judge.rule import RULE
from cc_tuning.evaluation.judge.win_rates import win_rates
from cc_tuning.runtime.progress import counting
from cc_tuning.runtime.step import Build
from data_contracts.files import write_json
from data_contracts.layout import JUDGED_WITH, JUDGEMENTS, PREDICTIONS, WIN_RATES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import Judgement, Prediction, WinRate

logger = logging.getLogger(__name__)


def build_judgements(build: Build[RunJudging]) -> RowCounts:
    """Writes the verdicts and the win rates of a run over its baseline; rows are verdicts.

    Raises:
        EvaluationFailed: more questions stayed open than the limit allows; what was answered is kept.
        ConfigError: the judge's address, key or model is not right.
    """
    config, execution = build.config, build.execution
    own, others = (read_parquet(build.inputs[name].path / PREDICTIONS, Prediction) for name in ("answers", "baseline"))
    folders = [build.inputs[name].path for name in ("items", "instructions") if name in build.inputs]
    paired = paired_answers(own, others, load_items(*folders).items, config.judge.benchmarks)
    count = counting(build.progress, 0, 2 * paired.height, "verdicts")
    if config.judge.kind == "rule":
        judgements = judge_by_rule(paired, config, count)
    else:
        patience = Patience(execution.judge_workers, execution.judge_tries, execution.judge_wait_seconds)
        ask = OpenAICompatibleJudge(config.judge, execution)
        judgements = judge_with_model(paired, config, ask, execution.judgements, patience, count)
    rates = win_rates(judgements)
    _check_open(int(rates["open"].sum()), judgements.height, execution.open_judgements_limit)
    write_parquet(judgements, build.folder / JUDGEMENTS, Judgement)
    write_parquet(rates, build.folder / WIN_RATES, WinRate)
    said_by = RULE if config.judge.kind == "rule" else config.judge.model
    tries = int(judgements["tries"].sum())
    write_json(build.folder / JUDGED_WITH, {"kind": config.judge.kind, "judge": said_by, "questions_asked": tries})
    logger.info("judge: %d verdicts on %d items in %d tries", judgements.height, paired.height, tries)
    return RowCounts(read=judgements.height, kept=judgements.height)


def _check_open(still_open: int, asked: int, limit: float) -> None:
    if still_open > limit * asked:
        raise EvaluationFailed(
            f"{still_open} of {asked} questions to the judge have no verdict, the limit is {limit:.1%}; the others are "
            "kept, and the next run asks only for these. The log says why they are open; "
            "`execution.open_judgements_limit` allows some"
        )
