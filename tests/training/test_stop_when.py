"""stop_when and the built-in trainer: cells of one pack end each at its own epoch."""

from __future__ import annotations

from pathlib import Path

import yaml
from helpers.command_line import Holdfast, result

from hpc.storage.store import Store


def test_the_built_in_trainer_stops_cells_of_one_pack_each_at_its_own_epoch(
    holdfast: Holdfast, tmp_path: Path, data_dir: Path
) -> None:
    """Packed, and one by one: the same cells end at the same epochs, with the same bits."""
    content = {
        "data": {"dir": str(data_dir)},
        "model": {"hidden_dim": 16, "decoder_hidden_dim": 16, "n_layers": 1},
        "training": {"epochs": 8, "optimizer": {"lr": 0.03}},
        "sweep": {"name": "early", "dims": [2, 8], "scales": [1.0], "runs_per_condition": 3},
        "stop_when": {"metric": "val_loss", "patience": 1},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    packed = ("run", "--config", "sweep.yaml", "--parallel-jobs", "1")
    holdfast(*packed, "--pack", "6", "--output-dir", "out")
    holdfast(*packed, "--pack", "1", "--output-dir", "alone")
    ends = []
    for name in ("out", "alone"):
        store = Store(tmp_path / name)
        ends.append([result(store, cell) for cell in store.sweep().grid])
    assert [e["outcome_digest"] for e in ends[0]] == [e["outcome_digest"] for e in ends[1]]
    assert [e.get("stopped_early") for e in ends[0]] == [e.get("stopped_early") for e in ends[1]]
    assert len({entry["epochs"] for entry in ends[0]}) > 1
    for entry in ends[0]:
        if facts := entry.get("stopped_early"):
            assert entry["best_epoch"] == facts["last_improvement"] == entry["epochs"] - 1
