"""The stamp that every file of one aggregation carries, so that the files of two are never taken for one set.

It is a digest of the numbers and of nothing else: the same outcomes have the same stamp wherever and whenever they are
aggregated, and two aggregations that differ in any number have different ones.
"""

from __future__ import annotations

import hashlib

from aggregate.reading.histories import Histories

AGGREGATION = "aggregation"


def stamp_of(results: bytes, statistics: bytes, histories: Histories) -> str:
    """64 hexadecimal digits. results: the content of aggregated_results.json. statistics: that of statistics.json,
    before the stamp goes into it."""
    total = hashlib.sha256()
    for part in (results, statistics):
        total.update(hashlib.sha256(part).digest())
    total.update(histories.position.tobytes() + histories.epoch.tobytes())
    for name, column in sorted(histories.columns.items()):
        total.update(name.encode() + column.tobytes())
    return total.hexdigest()


def stamped(statistics: dict[str, object], results: bytes, stamp: str) -> dict[str, object]:
    """statistics.json with the stamp of its aggregation. aggregated_results.json holds nothing but conditions, so its
    own digest says whether it belongs to them."""
    return {AGGREGATION: stamp, "aggregated_results_sha256": hashlib.sha256(results).hexdigest(), **statistics}
