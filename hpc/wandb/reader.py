"""Runs read from a server through the client's public interface, with complete histories."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from hpc.wandb.helper import PLACES, READ, Helper
from hpc.wandb.runs import WandbRun, one_row_a_step

# Each page is a request and a round trip, and each history one or more: large pages, several histories at a time.
_PAGE, _ROWS_A_PAGE, _AT_A_TIME = 500, 10_000, 8
_MOST_PROJECTS = 50


def runs_on_server(
    helper: Helper,
    project: str,
    entity: str,
    filters: Mapping[str, Any],
    histories: list[str] | None = None,
) -> list[WandbRun]:
    """The runs that match; none if the project does not exist. Raises WandbTroubleError, OSError.

    entity: empty for the user's own. filters: as in MongoDB. histories: ids of runs whose rows to read, None for all.
    """
    request = {"do": READ, "project": project, "entity": entity, "filters": dict(filters), "histories": histories}
    return [WandbRun.from_json(answer) for answer in helper.ask(request)]


def places_on_server(helper: Helper, project: str, entity: str) -> tuple[str, list[str], dict[str, int]]:
    """(user or team, its projects, groups of this project with their number of runs, none if it is none of them).

    entity: empty for the user's own. Of very many only the newest. Raises WandbTroubleError, OSError.
    """
    (answer,) = helper.ask({"do": PLACES, "project": project, "entity": entity})
    return answer["entity"], answer["projects"], answer["groups"]


def places(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """In the helper process: the answer to a request of `places_on_server`."""
    import wandb

    api = wandb.Api()
    entity, project = _entity(api, request), request["project"]
    projects = [found.name for found in islice(api.projects(entity), _MOST_PROJECTS)]
    runs = _all(api.runs(f"{entity}/{project}", per_page=_PAGE)) if project in projects else ()
    groups = Counter(run.group or "" for run in islice(runs, _PAGE))
    yield {"entity": entity, "projects": projects, "groups": groups}


def read(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """In the helper process: each run that matches a request of `runs_on_server`."""
    import wandb

    # A new one per request: Api remembers the runs of each filter, and these change while a sync settles.
    api = wandb.Api()
    path = f"{_entity(api, request)}/{request['project']}"
    # One request per page: a lazy listing sends another one for each run.
    listing = api.runs(path, filters=request["filters"], lazy=False, per_page=_PAGE)
    wanted = request["histories"]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for run in pool.map(lambda found: _run(found, wanted), _all(listing)):
            yield run.to_json()


def _entity(api: Any, request: Mapping[str, Any]) -> str:
    return str(request["entity"] or os.environ.get("WANDB_ENTITY") or api.default_entity)


def _all(listing: Any) -> Iterator[Any]:
    """Every run of a listing; a project that does not exist has none."""
    try:
        yield from listing
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise


def _run(found: Any, wanted: list[str] | None) -> WandbRun:
    # Not history(), which samples 500 rows. No list of keys: it would drop rows that lack one of them.
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
