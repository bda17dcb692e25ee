"""The search by itself, on a model whose violation lies deep."""

from __future__ import annotations

from .swarm import Search, rule, shrunk

RUNGS = 6


class Ladder:
    """Each rung is reached from the one below by one of eight values; by any other, one falls."""

    def __init__(self) -> None:
        self.height = 0

    @rule(value=range(8))
    def climb(self, value: int) -> None:
        self.height = self.height + 1 if value == 3 * self.height % 8 else 0

    def what_must_hold(self) -> None:
        assert self.height < RUNGS, "too high"

    def situation(self) -> set[str]:
        return {f"height {self.height}"}

    def teardown(self) -> None:
        """Nothing is left."""

    close = teardown


class Dark(Ladder):
    """The same for a search that sees no height."""

    def situation(self) -> set[str]:
        return set()


def test_a_search_continues_what_led_to_something_new_and_so_gets_where_chance_alone_does_not() -> None:
    assert Search(Dark, seed=1).run(1_000) is None
    found = Search(Ladder, seed=1).run(1_000)
    assert found is not None
    assert [step.arguments["value"] for step in found.steps][-RUNGS:] == [0, 3, 6, 1, 4, 7]
    assert len(shrunk(Ladder, found, "too high", seconds=60).steps) == RUNGS


def test_a_search_continues_the_fewest_steps_that_lead_somewhere() -> None:
    search = Search(Ladder, seed=1)
    search.run(300)
    assert {feature: len(way.steps) for feature, way in search._ways.items() if len(way.steps) < RUNGS} == {
        f"height {height}": max(1, height) for height in range(RUNGS)
    }
