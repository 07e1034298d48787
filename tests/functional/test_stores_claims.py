"""What hosts have promised, and which is chosen, on each kind of database."""

import concurrent.futures
import datetime
import random
import threading

import pytest
import sqlalchemy as sa

from cells import amounts, host_capacity
from cells.amounts import Amount
from cells.compute import placing
from cells.db import changes, claims, engine, flavors, host_reports, models

DOWN_AFTER = 3600.0
NODE = {
    'hypervisor_hostname': 'n1',
    'vcpus': 8,
    'vcpus_used': 0,
    'memory_mb': 16384,
    'memory_mb_used': 0,
    'free_ram_mb': 16384,
    'local_gb': 200,
    'local_gb_used': 0,
    'free_disk_gb': 200,
    'cpu_allocation_ratio': 2.0,
    'ram_allocation_ratio': 1.0,
    'disk_allocation_ratio': 1.0,
}
SMALL = Amount(4096, 20, 2)


def node(name='n1', counted=amounts.NOTHING, others=amounts.NOTHING, **values):
    """Return a node as an agent reports it that has instances and other things on it."""
    taken = counted.plus(others)
    return {
        **NODE,
        'hypervisor_hostname': name,
        'free_ram_mb': NODE['memory_mb'] - taken.memory_mb,
        'free_disk_gb': NODE['local_gb'] - taken.disk_gb,
        'vcpus_used': taken.vcpus,
        'stats': amounts.stats_of(counted),
        **values,
    }


def report(database, host='h1', nodes=None, unwilling=None):
    """Report as the agent of a host would."""
    found = host_reports.HostReport(
        host, 'nova-compute', 'compute', 'm-' + host, nodes or [node()], unwilling
    )
    host_reports.host_report(database, found, DOWN_AFTER)


def place(database, uuid, amount=SMALL, **kwargs):
    with database.write() as connection:
        return placing.place(connection, uuid, amount, service_down_time=DOWN_AFTER, **kwargs)


def choose(database, amount=SMALL, **kwargs):
    with database.write() as connection:
        return placing.choose_host(connection, *amount, service_down_time=DOWN_AFTER, **kwargs)


def claim(database, uuid, host='h1', node='n1', amount=SMALL, **kwargs):
    with database.write() as connection:
        return placing.claim(connection, uuid, host, node, *amount, **kwargs)


def release(database, uuid, host=None, **kwargs):
    with database.write() as connection:
        placing.release(connection, uuid, host, **kwargs)


def claimed(database):
    with database.read() as connection:
        return claims.claimed_by_node(connection)


# -- claims --


def test_what_is_claimed_is_not_given_again(database):
    report(database)
    assert [claim(database, 'i%d' % one) for one in range(5)] == [True] * 4 + [False]
    assert claimed(database) == {('h1', 'n1'): Amount(16384, 80, 8)}
    release(database, 'i1')
    assert claim(database, 'i4')
    assert not claim(database, 'i5', amount=Amount(1, 0, 0))


def test_a_claim_that_comes_again_replaces_itself(database):
    report(database)
    big = Amount(16384, 200, 16)
    assert claim(database, 'i1', amount=big)
    assert claim(database, 'i1', amount=big)
    assert claim(database, 'i1', kind=claims.MIGRATION)
    assert claimed(database) == {('h1', 'n1'): SMALL}
    with database.read() as connection:
        [found] = claims.claims_of(connection, 'i1')
    assert (found['host'], found['node'], found['kind']) == ('h1', 'n1', claims.MIGRATION)


@pytest.mark.parametrize(
    'amount', [Amount(16385, 0, 0), Amount(0, 201, 0), Amount(0, 0, 17)], ids=str
)
def test_no_part_of_a_host_is_given_twice(database, amount):
    report(database)
    assert not claim(database, 'i1', amount=amount)
    assert claimed(database) == {}


def test_an_unknown_host_or_node_gives_nothing(database):
    report(database)
    assert not claim(database, 'i1', host='h2')
    assert not claim(database, 'i1', node='n2')


def test_claims_go_by_host_and_by_kind(database):
    report(database)
    report(database, 'h2', [node('n2')])
    claim(database, 'i1', kind=claims.MIGRATION)
    claim(database, 'i1', 'h2', 'n2')
    claim(database, 'i2')
    release(database, 'i1', 'h2', kind=claims.MIGRATION)
    assert claimed(database)['h2', 'n2'] == SMALL
    release(database, 'i1', 'h1')
    assert claimed(database) == {('h1', 'n1'): SMALL, ('h2', 'n2'): SMALL}
    release(database, 'i1')
    assert claimed(database) == {('h1', 'n1'): SMALL}
    with database.read() as connection:
        assert claims.claims_on(connection, 'h1') == {'i2'}


def test_claims_cannot_oversubscribe_under_concurrency(database):
    """Twelve threads with connections of their own want four times what there is."""
    hosts = ['h1', 'h2', 'h3']
    for host in hosts:
        report(database, host, [node('a'), node('b')])
    # 4 fit on a node, 24 in all; 96 want to come, and some leave again.
    numbers = iter(range(96))
    lock = threading.Lock()
    won, lost = [], []
    start = threading.Barrier(12)

    def work(seed):
        own = engine.Database(database.url, pool_size=1)
        chance = random.Random(seed)
        start.wait()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            found = patiently(place, own, 'i%d' % number)
            if isinstance(found, tuple) and chance.random() < 0.3:
                patiently(release, own, 'i%d' % number)
                found = 'left'
            with lock:
                (won if isinstance(found, tuple) else lost).append(found)
            check(own)
        own.dispose()

    def check(own):
        for size in claimed(own).values():
            assert size.fits(Amount(16384, 200, 16)), size

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for future in [pool.submit(work, seed) for seed in range(12)]:
            future.result()
    found = claimed(database)
    assert sum(size.memory_mb for size in found.values()) == len(won) * SMALL.memory_mb
    assert len(won) <= 24
    # Whoever was refused was so for want of room, so at some time all was taken.
    refused = [one for one in lost if one != 'left']
    assert refused
    assert all('needs 4096 MB RAM' in one[0] for one in refused)


def test_a_transaction_sees_what_was_claimed_since_it_began(database):
    if database.dialect == 'sqlite':
        pytest.skip('one writer at a time')
    report(database)
    report(database, 'h2', [node('n2', others=Amount(16384 - 4096, 0, 0))])
    with database.write() as connection:
        assert claims.claimed_by_node(connection) == {}
        other = engine.Database(database.url, pool_size=1)
        assert claim(other, 'i1', amount=Amount(16384, 0, 0))
        other.dispose()
        assert not placing.claim(connection, 'i2', 'h1', 'n1', *SMALL)
        found = placing.place(connection, 'i2', SMALL, service_down_time=DOWN_AFTER)
        assert found == ('h2', 'n2')


def patiently(work, *args):
    """Do a transaction as the parts of a cell do: again, when it was in the way of another."""
    while True:
        try:
            return work(*args)
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise


def test_one_transaction_may_place_many_and_spreads_them(database):
    for host in ('h1', 'h2', 'h3', 'h4'):
        report(database, host)
    with database.write() as connection:
        found = [
            placing.place(connection, 'i%d' % one, SMALL, service_down_time=DOWN_AFTER)
            for one in range(17)
        ]
    hosts = [one[0] for one in found[:16]]
    assert {host: hosts.count(host) for host in hosts} == dict.fromkeys(('h1', 'h2', 'h3', 'h4'), 4)
    assert set(hosts[:4]) == {'h1', 'h2', 'h3', 'h4'}
    assert isinstance(found[16], list)


def test_what_a_transaction_takes_back_is_free(database):
    report(database)
    with database.write() as connection:
        placing.place(connection, 'i1', SMALL, service_down_time=DOWN_AFTER)
        connection.rollback()
    assert claimed(database) == {}


# -- which host --


def test_the_host_with_the_most_free_memory_is_chosen(database):
    report(database, 'h1', [node('n1', others=Amount(4096, 0, 0))])
    report(database, 'h2', [node('n2')])
    report(database, 'h3', [node('n3', others=Amount(2048, 0, 0))])
    assert choose(database) == ('h2', 'n2')
    assert choose(database, exclude={'h2'}) == ('h3', 'n3')
    assert choose(database, only='h1') == ('h1', 'n1')
    assert choose(database, nodes=['n3']) == ('h3', 'n3')


def test_a_host_that_is_down_disabled_or_in_maintenance_is_not_chosen(database):
    report(database, 'h1')
    report(database, 'h2', unwilling='the host is disabled')
    report(database, 'h3', unwilling='the host is in maintenance')
    report(database, 'h4')
    with database.write() as connection:
        services = models.Service.__table__
        long_ago = models.utcnow() - datetime.timedelta(seconds=DOWN_AFTER + 1)
        connection.execute(
            sa.update(services).where(services.c.host == 'h1').values(last_seen_up=long_ago)
        )
        connection.execute(
            sa.update(services).where(services.c.host == 'h4').values(forced_down=True)
        )
    assert choose(database) == ['hosts h1 and h4 are down', 'hosts h2 and h3 are disabled']
    assert choose(database, only=['h9', 'h2']) == [
        'host h2 is disabled',
        'host h9 is not known in this cell',
    ]
    report(database, 'h1')
    assert choose(database) == ('h1', 'n1')


def test_reasons_name_each_shortage_and_how_much_there_would_be(database):
    assert choose(database) == ['this cell has no hosts']
    report(database, 'h1', [node('n1', others=Amount(14336, 0, 0))])
    report(database, 'h2', [node('n2', others=Amount(15360, 190, 0))])
    assert choose(database) == ['needs 4096 MB RAM, at most 2048 free on host h1']
    assert choose(database, Amount(4096, 300, 20)) == [
        'needs 4096 MB RAM, at most 2048 free on host h1',
        'needs 300 GB disk, at most 200 free on host h1',
        'needs 20 VCPUs, at most 16 free on host h1',
    ]
    assert choose(database, exclude={'h1', 'h2'}) == [
        'hosts h1 and h2 are out of the question after an earlier attempt'
    ]


def test_a_shortage_of_all_together_is_told(database):
    report(database, 'h1', [node('n1', others=Amount(16000, 0, 0))])
    report(database, 'h2', [node('n2', others=Amount(0, 199, 0))])
    assert choose(database) == [
        'needs 4096 MB RAM, 20 GB disk and 2 VCPUs, which no host has together'
    ]


@pytest.mark.parametrize(
    ('properties', 'zone', 'found'),
    [
        ({'force_hosts': ['h2']}, None, ('h2', 'n2')),
        ({'force_hosts': 'h2'}, 'nova', ('h2', 'n2')),
        ({'force_nodes': ['n3']}, None, ('h3', 'n3')),
        ({'force_hosts': ['api!x@h3']}, None, ('h3', 'n3')),
        ({'force_hosts': []}, 'az:h2', ('h2', 'n2')),
        ({}, 'az:h2:n2', ('h2', 'n2')),
        ({}, 'az::n3', ('h3', 'n3')),
        ({}, 'az', ('h1', 'n1')),
        ({'force_hosts': ['h1']}, ':h2', ['hosts']),
        ({}, 'az:h9', ['host h9 is not known in this cell']),
    ],
)
def test_a_request_may_name_hosts_and_nodes(database, properties, zone, found):
    for number in (1, 2, 3):
        report(database, 'h%d' % number, [node('n%d' % number)])
    wanted = placing.wanted_of(properties, zone)
    if found == ['hosts']:
        assert wanted.hosts == frozenset()
        assert isinstance(place(database, 'i1', wanted=wanted), list)
    else:
        assert place(database, 'i1', wanted=wanted) == found


def test_hosts_of_another_zone_are_left_out(database):
    report(database, 'h1')
    report(database, 'h2', [node('n2')])
    with database.write() as connection:
        services = models.Service.__table__
        connection.execute(
            sa.update(services).where(services.c.host == 'h1').values(availability_zone='east')
        )
    assert choose(database, zone='east') == ('h1', 'n1')
    assert choose(database, zone='west') == ('h2', 'n2')
    assert choose(database, zone='west', exclude={'h2'})[0] == (
        'host h1 is in another availability zone than west'
    )


def test_allocation_ratios_count(database):
    report(
        database,
        nodes=[node(ram_allocation_ratio=1.5, disk_allocation_ratio=0.5, cpu_allocation_ratio=0.0)],
    )
    assert claim(database, 'i1', amount=Amount(24576, 100, 8))
    release(database, 'i1')
    for amount in (Amount(24577, 0, 0), Amount(0, 101, 0), Amount(0, 0, 9)):
        assert not claim(database, 'i1', amount=amount)


# -- claims and what agents count --


def test_an_instance_counts_once_whoever_has_it(database):
    """Claimed, then on the host and in its report as well, and what else runs there."""
    others = Amount(4096, 50, 2)
    report(database, nodes=[node(others=others)])
    assert claim(database, 'i1')
    assert claim(database, 'i2')
    left = Amount(4096, 110, 10)
    assert not claim(database, 'i3', amount=left.plus(Amount(1, 0, 0)))
    for counted in (SMALL, SMALL.plus(SMALL)):
        report(database, nodes=[node(counted=counted, others=others)])
        for amount in (Amount(1, 0, 0), Amount(0, 1, 0), Amount(0, 0, 1)):
            assert not claim(database, 'i3', amount=left.plus(amount))
        assert claim(database, 'i3', amount=left)
        release(database, 'i3')


def test_no_more_is_given_than_the_agent_has_free(database):
    report(database, nodes=[node(counted=Amount(8192, 0, 0), others=Amount(4096, 0, 0))])
    # Nothing is claimed: the machines are none of the cell's.
    assert not claim(database, 'i1', amount=Amount(4097, 0, 0))
    assert claim(database, 'i1', amount=Amount(4096, 0, 0))


def test_an_agent_that_does_not_say_what_its_instances_have_is_believed_to_have_all(database):
    report(database, nodes=[node(others=SMALL, stats={})])
    assert claim(database, 'i1')
    assert claim(database, 'i2', amount=Amount(12288, 0, 0))
    assert not claim(database, 'i3', amount=Amount(1, 0, 0))


# -- what the cells above are told --


def capacities(database):
    return host_capacity.own_capacities(database, 0.0, DOWN_AFTER)


def add_flavor(database, memory_mb, root_gb):
    values = {'name': 'f', 'flavorid': 'f', 'memory_mb': memory_mb, 'vcpus': 1, 'root_gb': root_gb}
    with database.write() as connection:
        flavors.flavor_create(connection, values)


def test_a_claim_shows_in_the_capacities_at_once(database):
    add_flavor(database, 4096, 20)
    report(database)
    before = changes.versions(database)[changes.HOSTS]
    assert capacities(database)['ram_free'] == {
        'total_mb': 16384,
        'units_by_mb': {'4096': 4},
    }
    place(database, 'i1')
    assert changes.versions(database)[changes.HOSTS] > before
    found = capacities(database)
    assert found['ram_free'] == {'total_mb': 12288, 'units_by_mb': {'4096': 3}}
    assert found['disk_free'] == {'total_mb': 180 * 1024, 'units_by_mb': {'20480': 9}}
    assert found['free'] == {'8192:128:8': 1}
    before = changes.versions(database)[changes.HOSTS]
    release(database, 'i1')
    assert changes.versions(database)[changes.HOSTS] > before
    assert capacities(database)['ram_free']['total_mb'] == 16384


def test_d3_an_instance_is_not_counted_twice_once_its_agent_has_it(database):
    add_flavor(database, 4096, 20)
    report(database)
    place(database, 'i1')
    told = capacities(database)
    report(database, nodes=[node(counted=SMALL)])
    assert capacities(database) == told
    release(database, 'i1')
    report(database)
    assert capacities(database)['ram_free']['total_mb'] == 16384


def test_d3_capacities_are_what_can_be_claimed(database):
    """A property test: until nothing more can be claimed, and by brute force."""
    chance = random.Random(7)
    add_flavor(database, 1536, 7)
    for number in range(12):
        others = Amount(chance.randrange(12000), chance.randrange(150), chance.randrange(6))
        report(
            database,
            'h%d' % (number % 5),
            [
                node('a%d' % number, others=others),
                node('b%d' % number, counted=Amount(chance.randrange(9000), 0, 0)),
            ],
        )
    for number in range(6):
        place(database, 'x%d' % number, Amount(chance.randrange(1, 5000), 11, 1))
    fits, amount = 0, Amount(1536, 0, 0)
    with database.write() as connection:
        nodes = claims.nodes(connection)
        given = claims.claimed_by_node(connection)
    by_host: dict[str, int] = {}
    for one in nodes:
        room = amounts.room(one, given.get((one['host'], one['node']), amounts.NOTHING))
        by_host[one['host']] = by_host.get(one['host'], 0) + room.memory_mb
    fits = sum(room // amount.memory_mb for room in by_host.values())
    assert capacities(database)['ram_free']['units_by_mb'] == {'1536': fits}


@pytest.mark.parametrize('number', [1, 3000])
def test_hosts_with_claims_are_counted_with_as_many_questions_as_one(database, number):
    now = models.utcnow()
    stats = '{"instances_disk_gb": "0", "instances_memory_mb": "0", "instances_vcpus": "0"}'
    with database.write() as connection:
        for first in range(0, number, 500):
            some = range(first, min(number, first + 500))
            rows = [
                {
                    'host': 'h%d' % one,
                    'binary': 'nova-compute',
                    'topic': 'compute',
                    'last_seen_up': now,
                }
                for one in some
            ]
            connection.execute(sa.insert(models.Service).values(rows))
            rows = [
                {**NODE, 'host': 'h%d' % one, 'uuid': 'u%d' % one, 'stats': stats} for one in some
            ]
            connection.execute(sa.insert(models.ComputeNode).values(rows))
            rows = [
                {
                    'instance_uuid': 'i%d' % one,
                    'host': 'h%d' % one,
                    'node': 'n1',
                    'kind': claims.INSTANCE,
                    'memory_mb': 1024,
                    'disk_gb': 1,
                    'vcpus': 1,
                    'created_at': 0.0,
                }
                for one in some
            ]
            connection.execute(sa.insert(models.Claim).values(rows))
    asked = []
    sa.event.listen(database.engine, 'before_cursor_execute', lambda *args: asked.append(args[2]))
    found = capacities(database)
    assert len(asked) <= 4, asked
    assert found['ram_free']['total_mb'] == number * (16384 - 1024)
