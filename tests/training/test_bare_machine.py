"""Training where torch, transformers, accelerate, safetensors, numpy and pydantic are all that is installed."""

import json
import subprocess
import sys
from pathlib import Path

from cc_tuning.training.metrics import read_metrics
from data_contracts.fingerprint import digest_of_files
from tests.training.jobs import MakeJob

ROOT = Path(__file__).parents[2]

# The packages cannot be found, as if they were not installed. transformers itself reads YAML: ours is looked at alone.
PROGRAM = """
import sys
from importlib.machinery import PathFinder
ABSENT = {"polars", "pyarrow", "dataframely", "prefect", "typer", "rich", "matplotlib", "peft", "icu", "nltk"}
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]

import json
from pathlib import Path
from cc_tuning.training.dataset import Rows
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.objectives.table import load_objective
from cc_tuning.training.run import train_on

job = TrainingJob.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
rows = [json.loads(line) for line in job.rows.read_text(encoding="utf-8").splitlines()]
train_on(Rows.of(rows, load_objective(job.config.objective).contract), job)

ours = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("cc_tuning", "data_contracts")]
assert not ABSENT & set(sys.modules)
assert not [module.__name__ for module in ours if hasattr(module, "yaml")]
"""


def test_two_steps_with_the_connection_need_six_packages_and_rows_in_memory(make_job: MakeJob, tmp_path: Path) -> None:
    rows = [
        {
            "row_id": f"r{i}",
            "input_ids": [*range(5, 12 + i)],
            "prompt_length": 4,
            "english_input_ids": [*range(40, 46 + i % 2)],
        }
        for i in range(4)
    ]
    rows_file, job_file = tmp_path / "rows.jsonl", tmp_path / "job.json"
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = make_job("run", "cc", global_batch_size=2, epochs=1).model_copy(update={"rows": rows_file})
    job_file.write_text(job.model_dump_json())
    command = [sys.executable, "-c", PROGRAM, str(job_file)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(read_metrics(job.folder / "metrics.jsonl")) == 2
    summary = json.loads((job.folder / "summary.json").read_text())
    assert (summary["rows"], summary["connected"]) == (4, True)
    assert summary["checkpoint_sha256"] == digest_of_files(job.folder / "checkpoint")
