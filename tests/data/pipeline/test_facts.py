"""Counts of parts, added up."""

import random

from bigtrain.data.pipeline.facts import LENGTHS, Tally, add_up, edges_and_counts


def tally(values: list[float]) -> Tally:
    one = Tally()
    for value in values:
        one.passed("read", 10, 10)
        if value < 0.3:
            one.dropped("clean", "small", 10, "files")
            one.example("stages", "clean", "reasons", "small", "examples", example={"text": str(value)})
        one.histogram("quality", "value", value=value, edges=(0, 1, 2, 3))
    return one


def test_the_sum_does_not_depend_on_the_division() -> None:
    draw = random.Random(0)
    values = [draw.random() * 4 for _ in range(300)]
    whole = tally(values).facts
    for size in (1, 7, 100, 299):
        total: dict = {}
        for start in range(0, len(values), size):
            add_up(total, tally(values[start : start + size]).facts)
        assert total == whole
    small = [value for value in values if value < 0.3]
    reason = whole["stages"]["clean"]["reasons"]["small"]
    assert (reason["documents"], reason["bytes"]) == (len(small), 10 * len(small))
    assert reason["examples"] == [{"text": str(value)} for value in small[:5]]
    assert whole["stages"]["read"] == {"documents_in": 300, "documents_out": 300, "bytes_in": 3000, "bytes_out": 3000}


def test_every_value_falls_between_the_edges_of_its_bin() -> None:
    draw = random.Random(1)
    for value in [*(draw.random() * 10 ** draw.randrange(7) for _ in range(200)), 0, 1, 2, 1024]:
        one = Tally()
        one.histogram("lengths", value=value, edges=LENGTHS)
        found = edges_and_counts(one.facts["lengths"], LENGTHS)
        low, high = found["edges"]
        assert low <= value < high
        assert found["documents"] == [1]


def test_a_histogram_has_every_bin_between_the_first_and_the_last_and_what_lies_outside_in_these() -> None:
    one, edges = Tally(), (0.0, 0.5, 1.0, 2.0, 4.0)
    for value in (-3, 0.1, 0.6, 5, 4):
        one.histogram("quality", value=value, edges=edges)
    assert edges_and_counts(one.facts["quality"], edges) == {"edges": list(edges), "documents": [2, 1, 0, 2]}
    assert edges_and_counts({"2": 7}, edges) == {"edges": [1.0, 2.0], "documents": [7]}


def test_few_examples_are_kept_and_none_twice() -> None:
    one = Tally()
    for number in range(20):
        assert one.wants_example("x", "examples") == (number <= 8)
        one.example("x", "examples", example=number // 2)
    assert one.facts == {"x": {"examples": [0, 1, 2, 3, 4]}}
