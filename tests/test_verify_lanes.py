"""Which run may start where: several for memory, one alone for time, nobody waits for ever."""

from __future__ import annotations

import pytest

from runtime_verify.lanes import Bay, Wish, fits, leave, place


def shared(number: int, device: str = "cuda") -> Wish:
    return Wish(number, device, alone=False)


def alone(number: int, device: str = "cuda") -> Wish:
    return Wish(number, device, alone=True)


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [
        ("cuda", "cuda:0", True),
        ("cuda", "cuda:7", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:1", "cuda:11", False),
        ("cpu", "cpu", True),
        ("cpu", "cuda:0", False),
        ("cuda", "cpu", False),
    ],
)
def test_devices_are_named_as_in_orders(wanted: str, device: str, expected: bool) -> None:
    assert fits(wanted, device) is expected


def test_memory_runs_share_a_device_up_to_its_slots_and_spread_over_devices() -> None:
    bays = [Bay("cuda:0", 2), Bay("cuda:1", 2)]
    assert place([shared(n) for n in range(6)], bays) == [(0, 0), (1, 1), (2, 0), (3, 1)]
    leave(bays[1])
    assert place([shared(4), shared(5)], bays) == [(4, 1)]


def test_a_timed_run_waits_until_the_device_is_empty_and_nothing_starts_meanwhile() -> None:
    bay = Bay("cpu", 3)
    assert place([shared(1, "cpu")], [bay]) == [(1, 0)]
    assert place([alone(2, "cpu")], [bay]) == []
    leave(bay)
    assert place([alone(2, "cpu")], [bay]) == [(2, 0)]
    assert place([shared(3, "cpu")], [bay]) == []
    leave(bay)
    assert place([shared(3, "cpu")], [bay]) == [(3, 0)]


def test_what_shares_goes_first_also_where_the_device_was_promised() -> None:
    """Emptying a device for each timed run would leave it idle time and again; and nobody waits for ever."""
    bay = Bay("cuda:0", 2)
    assert place([shared(1)], [bay]) == [(1, 0)]
    assert place([alone(10)], [bay]) == [] and bay.promised == 10
    assert place([alone(10), shared(2)], [bay]) == [(2, 0)] and bay.promised is None
    assert place([alone(10), shared(3)], [bay]) == []
    leave(bay)
    assert place([alone(10), shared(3)], [bay]) == [(3, 0)]
    leave(bay)
    leave(bay)
    assert place([alone(10)], [bay]) == [(10, 0)]


def test_two_timed_runs_take_two_devices() -> None:
    bays = [Bay("cuda:0", 4), Bay("cuda:1", 4)]
    assert place([alone(1), alone(2), alone(3)], bays) == [(1, 0), (2, 1)]


def test_a_run_that_no_longer_waits_holds_no_device() -> None:
    bay = Bay("cpu", 2)
    place([shared(1, "cpu")], [bay])
    place([alone(2, "cpu")], [bay])
    assert place([shared(3, "cpu")], [bay]) == [(3, 0)]


def test_a_closed_bay_takes_nothing() -> None:
    bay = Bay("cpu", 2, open=False)
    assert place([shared(1, "cpu"), alone(2, "cpu")], [bay]) == []
