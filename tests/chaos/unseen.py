"""Rules that no model of ours can see broken, each with the test that does: run on a copy of the code where it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .attempts import ROOT, ForkServer
from .mutant import Mutant

_FAILED = 1  # pytest's exit status where tests ran and one failed


def _by(test: str) -> tuple[Callable[[Path, ForkServer, Path], None]]:
    """The detector that is a test, by its file below tests/ and its name."""

    def detector(directory: Path, server: ForkServer, code: Path) -> None:
        shutil.copytree(ROOT / "tests", code / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "examples"):
            (code / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "pytest", "-x", "--tb=line", f"tests/{test}"]
        done = subprocess.run(command, cwd=code, capture_output=True, text=True, check=False)
        assert done.returncode != _FAILED, f"it fails: {test}"
        if done.returncode:
            raise RuntimeError(f"{test} could not be run: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    detector.__name__ = "test"
    return (detector,)


UNSEEN = (
    Mutant(
        "a stranger beside a result stays",
        "hpc/storage/published.py",
        "_settle(private, public, named[name], name, most, counts)",
        "name == CONFIG or _link(private, public)",
        _by("hpc/storage/test_published.py"),
    ),
    Mutant(
        "a late winner takes the name from the weights of a later result",
        "hpc/storage/published.py",
        "            ours = counts()\n",
        "            ours = True\n",
        _by("hpc/storage/test_published.py"),
    ),
    Mutant(
        "a late winner does not look again after it has given the name",
        "hpc/storage/published.py",
        "    if ours and not counts():\n",
        "    if False:\n",
        _by("chaos/test_late_writers.py"),
    ),
    Mutant(
        "weights of the same size are taken for those of a result where something was set aside",
        "hpc/storage/named_files.py",
        "    sampled = thorough or any(name.startswith(_OF_OTHERS) for name in names)\n",
        "    sampled = thorough\n",
        _by("chaos/test_late_writers.py"),
    ),
    Mutant(
        "a file that is gone meanwhile is the one that is named, and its last copy is removed",
        "hpc/storage/named_files.py",
        "True, None, gone=False)",
        "True, None, gone=path.exists())",
        _by("chaos/test_late_writers.py"),
    ),
    Mutant(
        "a reader repairs what it holds a folder of",
        "hpc/storage/published.py",
        "contextlib.suppress(OSError), opening.by_name():",
        "contextlib.suppress(OSError):",
        _by("chaos/test_late_writers.py"),
    ),
    Mutant(
        "a damaged result keeps its place beside a whole one",
        "hpc/node/attempt.py",
        "            if (winner := self._winner(cell)) is not None:\n                break\n",
        "            winner = self._winner(cell)\n            break\n",
        _by("hpc/node/test_attempt.py::test_a_damaged_result_gives_way_to_a_whole_one_and_is_no_second_outcome"),
    ),
    Mutant(
        "a task does not compare its snapshot",
        "hpc/node/task.py",
        "        check_snapshot(digest)",
        "        pass",
        _by("hpc/trainers/test_snapshot.py"),
    ),
    Mutant(
        "a result forgets the codes and numerics before the last",
        "hpc/node/books.py",
        "return before if same else [*before,",
        "return before if same else [",
        _by("hpc/node/test_attempt.py"),
    ),
    Mutant(
        "a task trains under another configuration than it was queued for",
        "hpc/node/pack.py",
        "    _check_unchanged(store, newest, listed)\n",
        "",
        _by("hpc/trainers/test_snapshot.py"),
    ),
    Mutant(
        "what a level stands for is no part of a result",
        "hpc/storage/results.py",
        "    if sweep.bundles and result.get",
        "    if False and result.get",
        _by("hpc/storage/test_level_settings.py"),
    ),
    Mutant(
        "a task trains other settings of a level than it was queued for",
        "hpc/node/pack.py",
        "        changed |= listed.cell_digests",
        "        changed |= False and listed.cell_digests",
        _by("hpc/storage/test_level_settings.py"),
    ),
    Mutant(
        "a later outcome takes the configuration from beside a result",
        "hpc/storage/published.py",
        "        (CONFIG, config, config),\n",
        "",
        _by("hpc/storage/test_published.py"),
    ),
    Mutant(
        "a sweep is corrected under its queued tasks",
        "hpc/launch/request.py",
        "            self._check_nothing_lives(other and not allow_code_change)\n",
        "            pass\n",
        _by("hpc/launch/test_corrections.py"),
    ),
    Mutant(
        "code is queued that is not on record",
        "hpc/launch/request.py",
        "        if self._is_other(found):\n",
        "        if False:\n",
        _by("hpc/launch/test_frozen_code.py"),
    ),
    Mutant(
        "each round of --wait takes the code as it is then",
        "hpc/launch/request.py",
        "    @cached_property\n    def _snapshot",
        "    @property\n    def _snapshot",
        _by("hpc/launch/test_frozen_code.py"),
    ),
    Mutant(
        "a task that is cancelled while it saves is requeued",
        "slurm_templates/task.sh",
        """ && [ -z "$terminated" ]; then
    # slurmctld answers nothing where the job is cancelled already, and in most cases ends this shell where it is not.
    refused=$(scontrol requeue incomplete""",
        """; then
    refused=$(scontrol requeue""",
        _by("slurm/test_cancelling.py::test_a_task_that_is_cancelled_while_it_saves_does_not_come_back"),
    ),
    Mutant(
        "a second submission that waits is refused",
        "hpc/launch/slurm.py",
        "    on_busy = _patience() if options.wait else None\n",
        "    on_busy = None\n",
        _by("slurm/test_cancelling.py::test_a_second_submission_that_waits_waits_for_its_turn"),
    ),
    Mutant(
        "an attempt does not look whether its directory was made anew",
        "hpc/node/attempt.py",
        'return self.store.pack_record(self.number).get("nonce") == self._record.get("nonce")',
        "return True",
        _by("hpc/node/test_replaced_directory.py"),
    ),
    Mutant(
        "a task goes on to its next attempt in a directory that was made anew",
        "hpc/node/trial.py",
        "        around.check_array(self.store)",
        "        #",
        _by("hpc/node/test_replaced_directory.py"),
    ),
    Mutant(
        "a copy from before a redo takes the cell from the new attempt",
        "hpc/node/generations.py",
        "for attempt in self.store.counting_attempts(cell) if attempt > self.claims",
        "for attempt in self.store.attempts(cell) if attempt > self.claims",
        _by("hpc/submission/test_redo.py"),
    ),
    Mutant(
        "a private file is removed though another has its public name",
        "hpc/storage/published.py",
        "    if public_too:\n",
        "    if True:\n",
        _by("hpc/storage/test_published.py"),
    ),
    Mutant(
        "what cannot be read once is taken for missing",
        "hpc/storage/documents.py",
        "    except ABSENT:\n",
        "    except (OSError, ValueError):\n",
        _by("hpc/storage/test_transient_errors.py"),
    ),
    Mutant(
        "a state that is further is removed for an earlier one",
        "hpc/node/generations.py",
        " and not self._is_further(pack):",
        ":",
        _by("hpc/storage/test_transient_errors.py"),
    ),
    Mutant(
        "an outcome for which there is no room goes unsaid",
        "hpc/node/attempt.py",
        "            self._keep_if_other(cell, record)\n",
        "",
        _by("chaos/test_disks.py"),
    ),
    Mutant(
        "a stop while the data is read is not heard",
        "hpc/trainers/data.py",
        "            if stop():\n",
        "            if False:\n",
        _by("hpc/node/test_giving_up.py"),
    ),
    Mutant(
        "a newer claim takes the cell",
        "hpc/node/generations.py",
        "any(self._newest_row(cell, attempt) is not None for attempt in newer)",
        "bool(newer)",
        _by("hpc/node/test_attempt.py::test_a_newer_claim_alone_takes_no_cell_from_an_attempt"),
    ),
    Mutant(
        "one foreign result keeps its pack waiting",
        "hpc/node/pack.py",
        "        if strangers and not cells:\n",
        "        if strangers:\n",
        _by("hpc/node/test_task.py::test_a_result_of_another_configuration_is_named_and_left_alone"),
    ),
    Mutant(
        "stops are never bounded",
        "hpc/node/giving_up.py",
        " or self.interrupted >= MOST_INTERRUPTED",
        "",
        _by("chaos/test_futile.py"),
    ),
    Mutant(
        "saving again what was restored counts as progress",
        "hpc/node/giving_up.py",
        "(saved and not repeats)",
        "saved",
        _by("hpc/node/test_giving_up.py"),
    ),
    Mutant(
        "states that cannot be read again count as progress",
        "hpc/node/giving_up.py",
        "    return any(map(_is_whole, paths))\n",
        "    return bool(paths)\n",
        _by("hpc/node/test_giving_up.py"),
    ),
    Mutant(
        "finished cells are remembered within the second they were read",
        "hpc/files/directories.py",
        "- _COARSEST_NS",
        "+ 1",
        _by("hpc/status/test_state_cache.py"),
    ),
    Mutant(
        "aggregate remembers cells within the second they were read",
        "aggregate/reading/unchanged.py",
        "[:, TIMES] < settled",
        "[:, TIMES] > 0",
        _by("aggregate/reading/test_unchanged.py"),
    ),
    Mutant(
        "a third outcome is dropped",
        "hpc/storage/published.py",
        "    atomic.publish_once(paths.further_conflict_file(cell, digest), data)\n",
        "",
        _by("hpc/storage/test_published.py"),
    ),
    Mutant(
        "a state of the code before a correction is restored",
        "hpc/node/generations.py",
        "if self._may_resume(row, code)",
        "if row",
        _by("hpc/launch/test_corrections.py"),
    ),
    Mutant(
        "a task trains code that was corrected since it was queued",
        "hpc/node/pack.py",
        "        self._check_code()\n",
        "",
        _by("hpc/launch/test_corrections.py"),
    ),
    Mutant(
        "asking for fewer cells makes a sweep that has failed smaller",
        "hpc/storage/revisions.py",
        "if not (same and current.grid.covers(sweep.grid)) and store.present()",
        "if store.present()",
        _by("hpc/launch/test_corrections.py"),
    ),
    Mutant(
        "cells whose sweep.json was removed are continued",
        "hpc/storage/revisions.py",
        "if store.present() or directories.numbers(store.paths.packs_root):",
        "if False:",
        _by("hpc/storage/test_store.py"),
    ),
    Mutant(
        "a local run does not hear what is cancelled before its look",
        "hpc/launch/local.py",
        "    since = intents.newest(request.store)\n",
        "    since = 1_000_000\n",
        _by("hpc/launch/test_cancelled_meanwhile.py"),
    ),
    Mutant(
        "a cancellation that was seen half made is lost",
        "hpc/launch/slurm.py",
        "                since=seen.since,\n",
        "",
        _by("hpc/launch/test_cancelled_meanwhile.py"),
    ),
    Mutant(
        "a job on another cluster counts as queued on this one",
        "hpc/slurm/commands.py",
        "            raise ElsewhereError(self._recalled(job, place, asked))\n",
        "            pass\n",
        _by(
            "hpc/slurm/test_commands.py::test_a_job_that_a_plugin_sent_to_another_cluster_is_cancelled_there_and_is_an_error"
        ),
    ),
)
