"""Writes baseline.json afresh, after a change that was judged good: `python -m aggregate.coverage.baseline`."""

from __future__ import annotations

from pathlib import Path

from aggregate.coverage.populations import textbook
from aggregate.coverage.shortfall import baseline_text
from aggregate.coverage.simulation import simulate
from aggregate.coverage.verdicts import simulate_verdicts

VERDICTS, INTERVALS = 1_000, 20_000


def main() -> None:
    rows = [*simulate_verdicts(VERDICTS), *simulate(list(textbook()), INTERVALS)]
    Path(__file__).with_suffix(".json").write_text(baseline_text(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
