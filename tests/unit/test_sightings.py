import logging
import threading
import time

import pytest

from cells import sightings
from cells.db import changes, engine, migration, neighbours
from cells.messages import new_uuid

DAY = 86400.0
MUTE = sightings.MUTE_SECONDS


class Clocks:
    """The clocks that the module looks at, moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.mono = 5000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.mono += seconds


@pytest.fixture
def clocks(monkeypatch):
    found = Clocks()
    monkeypatch.setattr(sightings, 'time', found)
    return found


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


@pytest.fixture
def worker(database):
    """Make a worker of the cell."""

    def make(mute_interval=300.0):
        return sightings.Sightings(database=database, mute_interval=mute_interval)

    return make


def exchange(database, *workers):
    for one in workers:
        one.exchange(changes.versions(database))


# -- plain and ours --


@pytest.mark.parametrize(
    ('seen', 'protocol'),
    [
        ([], -1),
        ([0], 0),
        ([1], 1),
        ([0, 1], 1),
        ([1, 0], 1),
        ([1, 0, 0], 1),
        ([1, 0, 0, 0], 0),
        ([1, 0, 0, 1, 0, 0], 1),
        ([1, 0, 0, 0, 1], 1),
        ([2, 1], 1),
    ],
)
def test_a_neighbour_is_plain_after_three_plain_messages_and_ours_after_one(worker, seen, protocol):
    one = worker()
    for protocol_seen in seen:
        assert one.saw('leaf', protocol_seen) is None
    assert one.get('leaf').protocol == protocol
    assert one.is_ours('leaf') == one.get('leaf').is_ours == (protocol > 0)
    assert one.get('other').protocol == -1
    assert not one.is_ours('never asked for')


def test_a_sighting_is_a_copy(worker):
    one = worker()
    one.saw('leaf', 1)
    one.get('leaf').protocol = 0
    assert one.is_ours('leaf')


# -- two cells of one name --


def test_r13_a_second_cell_of_a_name_is_refused_while_the_first_lives(worker, clocks):
    one, first, second = worker(), new_uuid(), new_uuid()
    assert one.saw('leaf', 1, first) is None
    before = one.get('leaf')
    clocks.go(MUTE)
    assert one.saw('leaf', 1, second) == first
    assert one.get('leaf') == before, 'what is refused is no sign of life'
    assert one.saw('leaf', 1, first) is None


def test_r13_who_is_refused_does_not_keep_the_name_taken(worker, clocks, caplog):
    one, first, second = worker(), new_uuid(), new_uuid()
    one.saw('leaf', 1, first)
    for _ in range(20):
        clocks.go(1)
        found = one.saw('leaf', 1, second)
    assert found is None, 'the first is gone since long'
    assert one.get('leaf').cell_id == second
    assert 'another id than before: %s' % second in caplog.text
    assert one.saw('leaf', 1, first) == second


def test_r13_all_workers_know_whose_name_it_is(worker, database):
    one, two, first = worker(), worker(), new_uuid()
    one.saw('leaf', 1, first)
    exchange(database, one, two)
    assert two.saw('leaf', 1, new_uuid()) == first


def test_r13_it_is_known_over_a_restart(worker, database):
    before, first = worker(), new_uuid()
    before.saw('leaf', 1, first)
    exchange(database, before)
    after = worker()
    exchange(database, after)
    assert after.saw('leaf', 1, new_uuid()) == first


def test_an_envelope_without_an_id_is_no_other_cell(worker):
    one, first = worker(), new_uuid()
    one.saw('leaf', 1, first)
    assert one.saw('leaf', 0) is None
    assert one.get('leaf').cell_id == first


# -- mute --


def test_a_neighbour_of_ours_is_mute_after_three_pings(worker, clocks, caplog):
    caplog.set_level(logging.INFO)
    one = worker()
    one.saw('leaf', 1)
    clocks.go(MUTE)
    assert not one.is_mute('leaf')
    clocks.go(0.1)
    assert one.is_mute('leaf')
    assert one.is_mute('leaf')
    assert caplog.text.count('leaf is mute') == 1
    one.saw('leaf', 1)
    assert not one.is_mute('leaf')
    assert caplog.text.count('not mute any more') == 1


def test_a_plain_neighbour_is_mute_after_the_configured_interval(worker, clocks):
    one = worker(mute_interval=300)
    one.saw('leaf', 0)
    clocks.go(300)
    assert not one.is_mute('leaf')
    clocks.go(0.1)
    assert one.is_mute('leaf')


def test_a_configured_interval_that_is_shorter_holds_for_ours_as_well(worker, clocks):
    one = worker(mute_interval=5)
    one.saw('leaf', 1)
    clocks.go(5.1)
    assert one.is_mute('leaf')


def test_who_was_never_heard_is_mute_only_after_a_while(worker, clocks):
    one = worker()
    assert not one.is_mute('leaf')
    clocks.go(301)
    assert one.is_mute('leaf')


@pytest.mark.parametrize('step', [DAY, -DAY, 3 * DAY + 30])
def test_d8_a_clock_that_is_set_makes_nobody_mute(worker, clocks, step):
    one = worker()
    one.saw('leaf', 1)
    clocks.wall += step
    assert not one.is_mute('leaf')
    one.saw('leaf', 1)
    assert not one.is_mute('leaf')
    clocks.go(MUTE + 1)
    assert one.is_mute('leaf'), 'and it hides nobody who is'


@pytest.mark.parametrize('step', [DAY, -DAY])
def test_d8_after_a_clock_was_set_workers_still_share_who_was_seen(worker, database, clocks, step):
    hears, other = worker(), worker()
    hears.saw('leaf', 1)
    exchange(database, hears, other)
    clocks.wall += step
    for _ in range(30):
        clocks.go(1)
        hears.saw('leaf', 1)
        exchange(database, hears, other)
        assert not other.is_mute('leaf')
    clocks.go(MUTE + 1)
    exchange(database, hears, other)
    assert hears.is_mute('leaf')
    assert other.is_mute('leaf')


def test_d8_workers_on_hosts_whose_clocks_differ_share_who_was_seen(worker, database, clocks):
    ahead, behind = worker(), worker()
    for _ in range(30):
        clocks.go(1)
        clocks.wall += 3600
        ahead.saw('leaf', 1) if _ == 0 else None
        exchange(database, ahead)
        clocks.wall -= 3600
        behind.saw('leaf', 1)
        exchange(database, behind)
    exchange(database, ahead)
    assert not ahead.is_mute('leaf'), 'the other one heard it all the time'
    assert not behind.is_mute('leaf')


# -- shared and kept --


def test_d10_two_workers_know_the_same(worker, database):
    one, two = worker(), worker()
    one.saw('leaf', 1, new_uuid())
    one.measured('leaf', 0.25, 0.0)
    assert one.reported('leaf', 'capacities', {'ram_free': {'total_mb': 5}})
    assert one.reported('leaf', 'capabilities', {'hypervisor': ['kvm']})
    exchange(database, one, two)
    for key in (*sightings.SHARED, *sightings.REPORTED, 'clock_offset'):
        assert getattr(two.get('leaf'), key) == getattr(one.get('leaf'), key), key
    assert two.offset('leaf') == 0.25
    for _ in range(3):
        two.saw('leaf', 0)
    exchange(database, two, one)
    assert one.get('leaf').protocol == 0


def test_what_one_worker_has_measured_is_not_undone_by_who_has_heard_of_it_later(
    worker, database, caplog
):
    one, two = worker(), worker()
    for offset in (2.0, 2.1, 2.2):
        one.saw('leaf', 1)
        one.measured('leaf', offset, 0.0)
        two.saw('leaf', 1)
        exchange(database, one, two)
        two.saw('leaf', 1)
        exchange(database, two, one)
        assert (one.offset('leaf'), two.offset('leaf')) == (offset, offset)
    assert caplog.text.count('mind its NTP') == 1


def test_d10_a_restarted_worker_knows_reports_and_how_long_everybody_is_silent(
    worker, database, clocks
):
    before = worker()
    before.saw('fresh', 1)
    before.saw('stale', 1)
    before.reported('fresh', 'capacities', {'ram_free': {'total_mb': 5}})
    clocks.go(MUTE - 5)
    before.saw('fresh', 1)
    exchange(database, before)
    clocks.go(10)
    clocks.mono = 77.0  # another process, perhaps after a boot
    after = worker()
    exchange(database, after)
    assert after.get('fresh').capacities == {'ram_free': {'total_mb': 5}}
    assert not after.is_mute('fresh')
    assert after.is_mute('stale')


def test_d10_a_restart_after_the_clock_went_back_makes_nobody_mute(worker, database, clocks):
    before = worker()
    before.saw('leaf', 1)
    exchange(database, before)
    clocks.wall -= DAY
    after = worker()
    exchange(database, after)
    assert not after.is_mute('leaf')
    clocks.go(MUTE + 1)
    assert after.is_mute('leaf')


def test_a_report_is_new_once(worker):
    one = worker()
    assert one.reported('leaf', 'capacities', {'a': 1})
    assert not one.reported('leaf', 'capacities', {'a': 1})
    assert one.reported('leaf', 'capacities', {'a': 2})


def test_a_report_is_read_by_others_only_when_there_is_a_new_one(worker, database):
    one, two = worker(), worker()
    one.saw('leaf', 1)
    one.reported('leaf', 'capacities', {'a': 1})
    before = changes.versions(database)
    exchange(database, one, two)
    assert changes.versions(database)[changes.REPORTS] == before.get(changes.REPORTS, 0) + 1
    one.saw('leaf', 1)
    exchange(database, one)
    assert changes.versions(database)[changes.REPORTS] == before.get(changes.REPORTS, 0) + 1


def test_what_could_not_be_written_is_written_later(worker, database, monkeypatch):
    one, two = worker(), worker()
    one.saw('leaf', 1, 'an id')
    one.reported('leaf', 'capacities', {'a': 1})
    one.measured('leaf', 0.25, 0.0)

    def fail(*args):
        raise engine.ERRORS[0]

    with monkeypatch.context() as patched:
        patched.setattr(neighbours, 'reports_save', fail)
        with pytest.raises(engine.ERRORS):
            exchange(database, one)
        one.reported('leaf', 'capacities', {'a': 2})
        with pytest.raises(engine.ERRORS):
            exchange(database, one)
    exchange(database, one, two)
    assert two.get('leaf').cell_id == 'an id'
    assert two.get('leaf').capacities == {'a': 2}
    assert two.offset('leaf') == 0.25


def test_an_own_report_that_is_not_written_yet_is_not_replaced_by_an_older_one(
    worker, database, monkeypatch
):
    one, two = worker(), worker()
    for each in (one, two):
        each.saw('leaf', 1)
    two.reported('leaf', 'capacities', {'a': 'old'})
    exchange(database, two)
    one.reported('leaf', 'capacities', {'a': 'new'})
    monkeypatch.setattr(neighbours, 'report_store', lambda *args: None)
    one.reported('leaf', 'capacities', {'a': 'newer'})
    exchange(database, two)
    assert one.get('leaf').capacities == {'a': 'newer'}


def test_who_could_not_look_does_not_take_others_for_mute(worker, database, clocks):
    one, other = worker(), worker()
    other.saw('leaf', 1)
    exchange(database, other, one)
    for _ in range(60):
        clocks.go(1)
        one.blind()
    assert not one.is_mute('leaf')
    assert one.get('leaf').heard <= clocks.mono
    clocks.go(MUTE + 1)
    assert one.is_mute('leaf')


def test_a_neighbour_that_is_gone_is_forgotten(worker, database):
    one = worker()
    one.saw('leaf', 1, 'an id')
    one.saw('stays', 1)
    one.reported('leaf', 'capacities', {'a': 1})
    one.forget(frozenset({'stays'}))
    assert one.get('leaf').protocol == -1
    assert one.get('leaf').capacities == {}
    assert one.is_ours('stays')
    exchange(database, one)
    assert set(neighbours.reports_get_all(database)) == {'stays'}


def test_a_neighbour_that_comes_back_has_its_report_again(worker, database):
    one, two = worker(), worker()
    one.saw('leaf', 1)
    one.reported('leaf', 'capacities', {'a': 1})
    exchange(database, one, two)
    two.forget(frozenset())
    exchange(database, two)
    assert two.get('leaf').capacities == {'a': 1}


def test_an_offset_of_more_than_a_second_is_an_alarm_once(worker, caplog):
    one = worker()
    assert one.offset('leaf') == 0.0
    for offset in (0.5, 3.0, 3.1, -2.0):
        one.measured('leaf', offset, 0.0)
    assert one.offset('leaf') == -2.0
    assert [r.levelname for r in caplog.records] == ['ERROR']
    assert 'leaf is +3.0 seconds off' in caplog.text


@pytest.mark.parametrize(
    ('measurements', 'offset', 'alarm'),
    [
        ([(3.0, 0.0)], 3.0, True),
        ([(0.3, 0.01)], 0.3, False),
        ([(3.0, 3.5)], 0.0, False),
        ([(-3.0, 2.2)], -0.8, False),
        ([(3.0, 0.5)], 2.6, True),
        ([(-3.0, 0.5)], -2.6, True),
        ([(5.0, 0.0), (1.0, 5.0)], 5.0, True),
        ([(5.0, 0.0), (0.0, 1.0)], 1.0, True),
        ([(2.0, 3.0), (0.01, 0.02)], 0.0, False),
        # Busy for a minute, and all of it on the way back.
        ([(1.9, 2.0)] * 12, 0.3, False),
        # Behind a slow link, what is measured again and again is so in the end, ...
        ([(-2.5, 1.6)] * 200, -2.5, True),
        # ... and so is it when it was mended.
        ([(5.0, 0.0), *[(0.0, 1.5)] * 200], 0.0, True),
    ],
)
def test_a_clock_is_as_far_off_as_is_known(worker, caplog, measurements, offset, alarm):
    one = worker()
    for told, error in measurements:
        one.measured('leaf', told, error)
    assert one.offset('leaf') == pytest.approx(offset, abs=0.1)
    assert ('mind its NTP' in caplog.text) is alarm


def test_threads_may_use_it_at_the_same_time(worker, database):
    one, errors = worker(), []
    until = time.monotonic() + 0.5

    def run(work):
        try:
            while time.monotonic() < until:
                work()
        except Exception as error:  # noqa: BLE001 - what is looked for
            errors.append(error)

    works = [
        lambda: one.saw('leaf', 1, 'an id'),
        lambda: one.reported('leaf', 'capacities', {'a': time.monotonic()}),
        lambda: exchange(database, one),
        lambda: one.forget(frozenset({'stays'})),
        lambda: one.is_mute('leaf'),
        one.blind,
    ]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert errors == []


def test_r13_a_neighbour_that_never_says_anything_is_complained_of_once(
    worker, caplog, monkeypatch
):
    monkeypatch.setattr(sightings, 'UNHEARD_SECONDS', -1.0)
    one = worker()
    one.get('silent')
    one.saw('talker', 1)
    one.complain()
    one.complain()
    assert caplog.text.count('Nothing has ever come from cell silent') == 1
    assert 'another cell of this name' in caplog.text
    assert 'talker' not in caplog.text
    one.forget(frozenset())
    one.get('silent')
    one.complain()
    assert caplog.text.count('Nothing has ever come from cell silent') == 2


# -- without extensions --


def test_a_cell_without_extensions_takes_all_its_neighbours_for_plain(worker, database, clocks):
    before = worker()
    before.saw('leaf', 1, new_uuid())
    exchange(database, before)
    one = sightings.Sightings(database=database, mute_interval=300, extensions=False)
    exchange(database, one)
    assert before.is_ours('leaf')
    for name in ('leaf', 'never heard of'):
        assert one.get(name).protocol == 0
        assert one.is_plain(name)
        assert not one.is_ours(name)
    clocks.go(MUTE + 1)
    assert not one.is_mute('leaf'), 'as nobody pings it'
    one.saw('leaf', 0)
    exchange(database, one, before)
    assert not before.is_ours('leaf')


def test_v9_when_a_neighbour_was_plain_last_is_kept_for_who_comes_next(worker, database, clocks):
    one = worker()
    one.saw('leaf', 0)
    clocks.go(10)
    one.saw('leaf', 1, new_uuid())
    exchange(database, one)
    other = worker()
    exchange(database, other)
    assert other.get('leaf').last_plain_at == clocks.wall - 10
    assert other.is_ours('leaf')
