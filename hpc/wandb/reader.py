"""Runs read from a server through the real client's public interface, whole histories included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hpc.wandb.helper import READ, Helper
from hpc.wandb.runs import WandbRun, one_row_a_step

_PAGE, _ROWS_A_PAGE, _AT_A_TIME = 500, 10_000, 8


def runs_on_server(
    helper: Helper,
    project: str,
    entity: str,
    filters: Mapping[str, Any],
    histories: list[str] | None = None,
) -> list[WandbRun]:
    """The runs that fit. A project that is not there has none. Raises WandbTroubleError, OSError.

    entity: empty for the user's own. filters: Mongo-style. histories: ids whose rows are wanted, None for all.
    """
    request = {"do": READ, "project": project, "entity": entity, "filters": dict(filters), "histories": histories}
    return [WandbRun.from_json(answer) for answer in helper.ask(request)]


def read(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """In the helper process: each run that fits a request of `runs_on_server`."""
    import wandb

    api = wandb.Api()
    path = f"{request['entity'] or os.environ.get('WANDB_ENTITY') or api.default_entity}/{request['project']}"
    # Everything in one request a page: a lazy listing asks again for each run.
    listing = api.runs(path, filters=request["filters"], lazy=False, per_page=_PAGE)
    wanted = request["histories"]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for run in pool.map(lambda found: _run(found, wanted), _all(listing)):
            yield run.to_json()


def _all(listing: Any) -> Iterator[Any]:
    try:
        yield from listing
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise


def _run(found: Any, wanted: list[str] | None) -> WandbRun:
    rows = found.scan_history(page_size=_ROWS_A_PAGE, use_cache=False) if wanted is None or found.id in wanted else ()
    return WandbRun(
        id=found.id,
        name=found.name or found.id,
        project=found.project,
        entity=found.entity,
        group=found.group or "",
        state=found.state,
        job_type=found.job_type or "",
        tags=tuple(found.tags),
        config=dict(found.config),
        summary={key: value for key, value in found.summary_metrics.items() if key != "_wandb"},
        rows=one_row_a_step(rows),
        source="/".join(found.path),
    )
