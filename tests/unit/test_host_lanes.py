"""Lanes: one after the other in each, beside each other between them."""

import threading
import time

from cells.host import lanes
from tests.unit.builders import eventually


def test_a_lane_gives_one_at_a_time_in_order_and_lanes_do_not_wait_for_each_other():
    found = lanes.Lanes()
    for item in (1, 2):
        found.put('a', item)
    found.put('b', 3)
    assert found.take() == ('a', 1)
    assert found.take() == ('b', 3)
    found.finish('a')
    assert found.take() == ('a', 2)


def test_what_is_to_be_done_again_comes_after_its_pause_and_before_the_rest():
    found = lanes.Lanes()
    found.put('a', 1)
    found.put('a', 2)
    lane, item = found.take()
    begun = time.monotonic()
    found.again(lane, item, 0.1)
    assert found.take() == ('a', 1)
    assert time.monotonic() - begun >= 0.09
    found.again('a', 1, 60)
    found.put('b', 3)
    assert found.take() == ('b', 3)
    found.hurry()
    assert found.take() == ('a', 1)
    found.finish('a')
    assert found.take() == ('a', 2)


def test_while_it_is_held_nothing_is_given_out():
    found = lanes.Lanes(held=True)
    got = []
    thread = threading.Thread(target=lambda: got.append(found.take()))
    thread.start()
    found.put('a', 1)
    time.sleep(0.05)
    assert got == []
    found.release()
    thread.join(5)
    assert got == [('a', 1)]
    found.hold()
    found.finish('a')
    found.put('a', 2)
    thread = threading.Thread(target=lambda: got.append(found.take()))
    thread.start()
    time.sleep(0.05)
    assert len(got) == 1
    found.close()
    thread.join(5)
    assert got == [('a', 1), None]


def test_many_threads_do_all_of_it_in_order():
    found = lanes.Lanes()
    done = {lane: [] for lane in 'abcdefghij'}
    busy = set()

    def work():
        while (taken := found.take()) is not None:
            lane, item = taken
            assert lane not in busy
            busy.add(lane)
            time.sleep(0.001)
            done[lane].append(item)
            busy.discard(lane)
            found.finish(lane)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        for lane in done:
            found.put(lane, number)
    eventually(lambda: all(len(items) == 20 for items in done.values()), 20)
    found.close()
    for thread in threads:
        thread.join(5)
    assert all(items == list(range(20)) for items in done.values())
