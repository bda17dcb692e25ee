"""Power cuts on a file system of our own; `make chaos` plays dozens."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from helpers.here import lacking
from helpers.waiting import PATIENCE, wait_until

from .attempts import ForkServer
from .powercut import Disk, NotPermittedError, campaign, disk

SEED = 20_263


def test_what_was_acknowledged_survives_a_power_cut_and_the_rest_is_trained_again(
    memory: Path, server: ForkServer
) -> None:
    try:
        counts = campaign(memory, server, SEED, cuts=8)
    except NotPermittedError as error:
        lacking(str(error))
    assert counts["power cuts"] == 8
    assert counts["acknowledged steps and results"] >= 20, counts


def test_what_is_mounted_after_a_cut_is_read_from_the_disk_although_another_namespace_has_kept_a_copy(
    memory: Path,
) -> None:
    try:
        with disk(memory) as made:
            (made.place / "a").write_text("kept")
            subprocess.run(["sync", "--file-system", str(made.place)], check=True)
            assert read_after_a_cut(made) == "kept"
    except NotPermittedError as error:
        lacking(str(error))


def read_after_a_cut(made: Disk) -> str:
    """Of the file that lies there. The other namespace goes away once the file system is unmounted here."""
    words = ["unshare", "--mount", "sh", "-c", "echo there; read end"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "there\n"
        made.cut()
        unmounting = threading.Thread(target=made.unmount)
        unmounting.start()
        wait_until(lambda: not made.place.is_mount(), "umount")
        assert unmounting.is_alive(), "it did not wait for the other namespace"
        other.communicate()
    unmounting.join(PATIENCE)
    made.mount()
    return (made.place / "a").read_text()
