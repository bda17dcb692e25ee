"""W&B's own client with a server on this machine, and proof that it contacts no other."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE
from helpers.wandb_server import WandbServer
from helpers.wandb_sweeps import KEY

from hpc.wandb import helper, mirror

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("wandb.sdk") is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="wandb is not installed"))


@pytest.fixture(autouse=True)
def _patience_with_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine needs longer than a GPU should be idle for; tests of a bound set their own."""
    monkeypatch.setattr(mirror, "SECONDS", PATIENCE)
    monkeypatch.setattr(helper, "_KILL_SECONDS", PATIENCE)
    monkeypatch.setenv("WANDB__SERVICE_WAIT", str(PATIENCE))


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What was asked of any address but this machine's, recorded by a proxy that answers nothing."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_record, args=(listener, asked), daemon=True)
    thread.start()
    for name in _PROXIES:
        for spelled in (name, name.lower()):
            monkeypatch.setenv(spelled, f"http://127.0.0.1:{listener.getsockname()[1]}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    yield asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)
    assert asked == []


def _record(listener: socket.socket, asked: list[bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test has ended
            return
        with connection:
            connection.settimeout(1)
            try:
                asked.append(connection.recv(4096).splitlines()[0])
            except OSError:
                asked.append(b"a connection")


@pytest.fixture
def server(outside: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A W&B server for one test; the environment points the client to it, and to nobody's home directory."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server
    assert server.unknown == []
