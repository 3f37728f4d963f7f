"""A store for each day, so that a nightly reproduction computes everything and still resumes after a kill."""

import re
import shutil
from datetime import UTC, datetime

from cc_tuning.runtime.execution import Execution


def fresh_store(execution: Execution) -> Execution:
    """The same execution in `STORE-YYYY-MM-DD`; stores of earlier days, made by this function, are removed."""
    store = execution.store
    today = store.with_name(f"{store.name}-{datetime.now(UTC):%Y-%m-%d}")
    if store.parent.is_dir():
        of_a_day = re.compile(re.escape(store.name) + r"-\d{4}-\d{2}-\d{2}")
        for folder in store.parent.iterdir():
            if of_a_day.fullmatch(folder.name) and folder.name < today.name:
                shutil.rmtree(folder)
    return execution.model_copy(update={"store": today})
