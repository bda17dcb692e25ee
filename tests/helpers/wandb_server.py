"""A W&B server on the loopback interface, just enough for the real client.

What it knows: the GraphQL operations that `wandb.init`, `run.finish`, `wandb sync` and `wandb.Api().runs/projects/
scan_history` of wandb 0.31 send, and the file stream. Runs live in memory, found by entity, project and name.

Its limits: the meaning of a request is our reading of the client, not the vendor's server. Lines of a history are kept
where the client's offset puts them, a run that is resumed appends behind what is there, nothing is sampled,
deduplicated or exported to parquet, a deleted run cannot exist, any API key is accepted, filters know $and, $or, $in,
$regex and equality, uploaded files are read and dropped. Operations it does not know are answered with an error and
remembered in `unknown`.

It serves one test process: bounded in time by `with`, ended by its own thread, and it can be told to fail.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


@dataclass
class StoredRun:
    """One run as the server has it."""

    number: int
    entity: str
    project: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    state: str = "running"

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as a user gave it."""
        return {key: entry["value"] for key, entry in self.config.items() if key != "_wandb"}

    @property
    def last_step(self) -> int:
        return max((row["_step"] for row in self.history), default=-1)

    def node(self) -> dict[str, Any]:
        """All that a query may ask of a run."""
        return {
            "id": f"run-{self.number}",
            "name": self.name,
            "displayName": self.fields.get("displayName") or self.name,
            "description": "",
            "notes": "",
            "tags": self.fields.get("tags") or [],
            "group": self.fields.get("groupName"),
            "jobType": self.fields.get("jobType"),
            "sweepName": None,
            "state": self.state,
            "config": json.dumps(self.config),
            "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}",
            "commit": None,
            "readOnly": False,
            "createdAt": f"2026-01-01T00:00:{self.number % 60:02d}Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "historyLineCount": len(self.lines),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps(self.lines[-1:]),
            "eventsTail": "[]",
            "wandbConfig": json.dumps({"t": 1}),
            "user": {"name": "tester", "username": "tester"},
            "historyKeys": {"lastStep": self.last_step, "keys": {}, "sets": []},
            "projectId": "1",
            "project": self.project_node(),
        }

    def project_node(self) -> dict[str, Any]:
        return {"id": "project-1", "name": self.project, "entity": {"id": "entity-1", "name": self.entity}}


class WandbServer:
    """The server: `with WandbServer() as server:`; see the module's text.

    seconds: how long each answer is held back. failing: answer everything with status 500.
    dropped: how many file-stream requests are answered with status 500 before one is taken.
    requests: every request as (method, path). bodies: what they carried, for canaries.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], StoredRun] = {}
        self.requests: list[tuple[str, str]] = []
        self.operations: list[str] = []
        self.bodies: list[bytes] = []
        self.unknown: list[str] = []
        self.seconds = 0.0
        self._speaking = threading.Event()
        self._speaking.set()
        self.failing = False
        self.dropped = 0
        self.lock = threading.RLock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> WandbServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.seconds = 0.0
        self.speak()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=10)

    def fall_silent(self) -> None:
        """Answer nothing from now on."""
        self._speaking.clear()

    def speak(self) -> None:
        """Answer what was asked meanwhile, and everything from now on."""
        self._speaking.set()

    def hold_back(self) -> None:
        """Wait as long as an answer is to be waited for."""
        time.sleep(self.seconds)
        self._speaking.wait()

    def all(self) -> list[StoredRun]:
        with self.lock:
            return list(self.runs.values())

    def named(self, display_name: str) -> StoredRun:
        """The one run that is shown under this name."""
        (run,) = [run for run in self.all() if run.fields.get("displayName") == display_name]
        return run

    def run(self, entity: str, project: str, name: str) -> StoredRun:
        key = (entity, project, name)
        if key not in self.runs:
            self.runs[key] = StoredRun(len(self.runs) + 1, entity, project, name)
        return self.runs[key]

    # --- GraphQL --------------------------------------------------------------------------------------------------

    def answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one operation. Raises KeyError for one that is not known."""
        found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
        operation = found.group(1) if found else query.strip()[:60]
        self.operations.append(operation)
        method = getattr(self, f"_do_{operation}", None)
        if method is None:
            self.unknown.append(f"{operation}: {query}")
            raise KeyError(operation)
        answer: dict[str, Any] = method(variables)
        return answer

    def _do_Viewer(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"viewer": _VIEWER}

    _do_GetDefaultEntity = _do_Viewer  # noqa: N815

    def _do_RunResumeStatus(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = (variables.get("entity") or _ENTITY, variables["project"], variables["name"])
        run = self.runs.get(key)
        project = {"id": "project-1", "name": key[1], "entity": {"id": "entity-1", "name": key[0]}}
        return {"model": project | {"bucket": run.node() if run else None}}

    def _do_UpsertBucket(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = next((run for run in self.all() if variables.get("id") == run.node()["id"]), None)
        if run is None:
            run = self.run(variables.get("entity") or _ENTITY, variables["project"], variables["name"])
            run.state = "running"
        for key in ("displayName", "groupName", "jobType", "tags"):
            if variables.get(key) is not None:
                run.fields[key] = variables[key]
        if variables.get("config") is not None:
            run.config = json.loads(variables["config"])
        if variables.get("summaryMetrics") is not None:
            run.summary = json.loads(variables["summaryMetrics"])
        return {"upsertBucket": {"bucket": run.node(), "inserted": not run.lines}}

    def _do_CreateRunFiles(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        urls = [{"name": name, "uploadUrl": f"{self.url}/upload/{i}"} for i, name in enumerate(variables["files"])]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": urls}}

    def _do_Runs(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        filters = json.loads(variables.get("filters") or "{}")
        place = (variables["entity"], variables["project"])
        runs = [run for run in self.all() if (run.entity, run.project) == place]
        if not runs:
            return {"project": None}
        chosen = [run for run in runs if _matches(run, filters)]
        start = int(variables.get("cursor") or 0)
        page = chosen[start : start + int(variables.get("perPage") or 50)]
        edges = [{"node": run.node(), "cursor": str(start + i + 1)} for i, run in enumerate(page)]
        more = start + len(page) < len(chosen)
        info = {"endCursor": str(start + len(page)), "hasNextPage": more}
        listing = {"edges": edges, "pageInfo": info}
        return {"project": {"internalId": "1", "runCount": len(chosen), "readOnly": False, "runs": listing}}

    def _do_GetProjects(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        entity = variables["entity"]
        names = sorted({run.project for run in self.all() if run.entity == entity})
        about = {"entityName": entity, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None}
        nodes = [{"__typename": "Project", "id": f"project-{name}", "name": name, **about} for name in names]
        info = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"edges": [{"node": node} for node in nodes], "pageInfo": info}}

    def _do_Run(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get((variables["entity"], variables["project"], variables["name"]))
        return {"project": {"run": run.node() if run else None}}

    _do_RunHistoryKeys = _do_Run  # noqa: N815

    def _do_RunParquetHistory(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs[variables["entity"], variables["project"], variables["runName"]]
        live = [{"_step": row["_step"]} for row in run.history]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}

    def _do_OrganizationCoreWeaveOrganizationID(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _do_HistoryPage(self, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs[variables["entity"], variables["project"], variables["run"]]
        steps = range(int(variables["minStep"]), int(variables["maxStep"]))
        rows = [line for line in run.lines if json.loads(line)["_step"] in steps]
        return {"project": {"run": {"history": rows}}}

    # --- file stream ----------------------------------------------------------------------------------------------

    def stream(self, entity: str, project: str, name: str, message: Mapping[str, Any]) -> None:
        """Take one file-stream request: lines at their offsets, the newest summary, the end."""
        run = self.run(entity, project, name)
        for file, chunk in (message.get("files") or {}).items():
            if file == HISTORY:
                at = int(chunk["offset"])
                run.lines[at : at + len(chunk["content"])] = chunk["content"]
            elif file == SUMMARY:
                run.summary = json.loads(chunk["content"][-1])
        if message.get("complete"):
            run.state = "finished" if message.get("exitcode") == 0 else "failed"


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends closes its connections; nothing to say about that."""


_ENTITY = "tester"
_VIEWER = {
    "id": "user-1",
    "entity": _ENTITY,
    "username": _ENTITY,
    "flags": "{}",
    "teams": {"edges": []},
}


def _matches(run: StoredRun, filters: Mapping[str, Any]) -> bool:
    """Whether a run fits a Mongo-style filter of the kinds named in the module's text. Raises KeyError for others."""
    for key, wanted in filters.items():
        if key == "$and":
            fits = all(_matches(run, part) for part in wanted)
        elif key == "$or":
            fits = any(_matches(run, part) for part in wanted)
        else:
            fits = _fits(_field(run, key), wanted)
        if not fits:
            return False
    return True


def _field(run: StoredRun, key: str) -> Any:
    plain = {"group": "groupName", "jobType": "jobType", "display_name": "displayName", "tags": "tags"}
    if key.startswith("config."):
        return run.settings.get(key.removeprefix("config.").removesuffix(".value"))
    if key in ("state", "name"):
        return getattr(run, key)
    return run.fields.get(plain[key])


def _fits(value: Any, wanted: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if not isinstance(wanted, dict):
        return wanted in values
    ((operator, operand),) = wanted.items()
    if operator == "$in":
        return any(entry in operand for entry in values)
    if operator == "$regex":
        return any(isinstance(entry, str) and re.search(operand, entry) is not None for entry in values)
    raise KeyError(operator)


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            server.requests.append((self.command, self.path))
            server.bodies.append(body)
            server.hold_back()
            status, answer = (500, {}) if server.failing else self._answer(body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
            if self.path == "/graphql":
                message = json.loads(body)
                try:
                    with server.lock:
                        return 200, {"data": server.answer(message["query"], message.get("variables") or {})}
                except KeyError as error:
                    return 200, {"errors": [{"message": f"the test server does not know {error}"}]}
            stream = re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path)
            if stream:
                with server.lock:
                    if server.dropped > 0:
                        server.dropped -= 1
                        return 500, {}
                    server.stream(*(unquote(part) for part in stream.groups()), json.loads(body))
                return 200, {"exitcode": None, "limits": {}}
            return (200, {}) if self.path.startswith("/upload/") else (404, {})

        do_GET = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
