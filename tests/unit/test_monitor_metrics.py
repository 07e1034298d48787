"""What Prometheus reads, as its own parser reads it."""

import ast
import pathlib

import prometheus_client
from prometheus_client import parser, registry

import cells
from cells import stats
from cells.monitor import counters, health, metrics
from tests.unit import test_monitor_health

ROOT = pathlib.Path(cells.__file__).parent
DOC = ROOT.parent / 'doc' / 'source' / 'monitoring.rst'

FIGURES = {
    'outbox': [('leaf', 'pending', 3, 12.5), ('leaf', 'sent', 1, 40.0)],
    'inbox': [('received', 2, 1.5)],
    'parked': 1,
    'sync': {'rows': 4, 'oldest_seconds': 9.5, 'failing': 0},
    'round': None,
    'last_round': {'looked_at': 200, 'repaired': 2, 'claimed_until': 1700000000.0},
    'hosts': {'up': 2, 'down': 1, 'disabled': 0},
}
NEIGHBOUR = {
    **test_monitor_health.NEIGHBOUR,
    'waiting': 7,
    'last_seen': 1700000000.0,
    'lag': 0.25,
}


def worker(**values):
    found = stats.Stats()
    found.count('messages_received', 5, neighbour='leaf')
    found.count('messages_sent', 6, neighbour='leaf')
    found.count('drift_found', 2, neighbour='leaf')
    found.observe('answer_seconds', 0.3, neighbour='leaf')
    found.observe('answer_seconds', 70, neighbour='leaf')
    exported = found.export()
    exported.pop('late')
    base = test_monitor_health.worker(started_at=1.0, load={'waiting': 3}, neighbours=[NEIGHBOUR])
    return {**base, **exported, **values}


def samples(*workers, figures=FIGURES, database=None):
    """Return the value of each sample by its name and labels, as a scraper reads them."""

    class Collector(registry.Collector):
        def collect(self):
            verdict = health.judge(
                workers, expected=len(workers), wedged_after=30, database=database
            )
            return metrics.families(
                workers,
                expected=len(workers),
                verdict=verdict,
                database=database,
                figures=figures,
                with_database=True,
            )

    found = registry.CollectorRegistry(auto_describe=False)
    found.register(Collector())
    text = prometheus_client.generate_latest(found).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name, **labels):
    return name, frozenset(labels.items())


def test_o9_each_neighbour_has_its_state_rates_latency_age_and_drift():
    found = samples(worker())
    by = {'worker': 'host.0', 'neighbour': 'leaf'}
    assert found[key('cells_neighbour_up', side='child', **by)] == 1
    assert found[key('cells_neighbour_lag_seconds', side='child', **by)] == 0.25
    assert found[key('cells_neighbour_send_queue', side='child', **by)] == 7
    assert found[key('cells_messages_received_total', **by)] == 5
    assert found[key('cells_messages_sent_total', **by)] == 6
    assert found[key('cells_drift_found_total', **by)] == 2
    assert found[key('cells_answer_seconds_count', **by)] == 2
    assert found[key('cells_answer_seconds_bucket', le='0.5', **by)] == 1
    assert found[key('cells_answer_seconds_bucket', le='+Inf', **by)] == 2
    assert found[key('cells_outbox_oldest_seconds', neighbour='leaf')] == 40.0
    assert found[key('cells_outbox_messages', neighbour='leaf', state='pending')] == 3
    assert found[key('cells_parked_messages')] == 1
    assert found[key('cells_sync_oldest_seconds')] == 9.5
    assert found[key('cells_heal_round_repaired')] == 2
    assert found[key('cells_hosts', state='down')] == 1


def test_a_neighbour_that_is_mute_or_not_reached_is_down():
    for changed in ({'mute': True}, {'link_up': False, 'link_error': 'away'}):
        found = samples(worker(neighbours=[{**NEIGHBOUR, **changed}]))
        labels = {'worker': 'host.0', 'neighbour': 'leaf', 'side': 'child'}
        assert found[key('cells_neighbour_up', **labels)] == 0


def test_a_neighbour_for_whom_nothing_waits_has_an_age_of_0():
    found = samples(worker(), figures={**FIGURES, 'outbox': []})
    assert found[key('cells_outbox_oldest_seconds', neighbour='leaf')] == 0


def test_c7_a_cell_that_is_drained_is_seen():
    found = samples(worker(drained=True, neighbours=[{**NEIGHBOUR, 'drained': True}]))
    assert found[key('cells_drained', worker='host.0')] == 1
    labels = {'worker': 'host.0', 'neighbour': 'leaf', 'side': 'child'}
    assert found[key('cells_neighbour_drained', **labels)] == 1


def test_workers_are_told_apart():
    found = samples(worker(), worker(worker='host.1', age=99.0))
    assert found[key('cells_worker_silent_seconds', worker='host.1')] == 99.0
    for name in ('host.0', 'host.1'):
        labels = {'worker': name, 'neighbour': 'leaf'}
        assert found[key('cells_messages_received_total', **labels)] == 5
    assert found[key('cells_healthy')] == 0


def test_without_its_database_the_rest_is_shown():
    found = samples(worker(), figures=None, database='away')
    assert found[key('cells_database_up')] == 0
    assert found[key('cells_ready')] == 0
    assert found[key('cells_worker_serving', worker='host.0')] == 1
    assert key('cells_parked_messages') not in found


def counted():
    """Return the names of all counters and histograms that the source counts."""
    found = {'count': set(), 'observe': set()}
    for path in ROOT.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in found
                and 'stats' in ast.unparse(node.func.value)
            ):
                found[node.func.attr].update(
                    one.value
                    for one in ast.walk(node.args[0])
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                )
    return found


def test_every_counter_says_what_it_counts():
    # On failure: cells/monitor/counters.py
    found = counted()
    assert len(found['count']) > 50
    assert found['count'] == counters.COUNTERS.keys()
    assert found['observe'] == counters.HISTOGRAMS.keys()


def test_every_metric_but_the_counters_is_on_the_page_of_the_documentation():
    text = DOC.read_text()
    names = {
        name
        for name, _ in samples(
            worker(parents=[{'name': 'top', 'error': None, 'last_confirmed': 1.0}])
        )
    }
    missing = sorted(
        name
        for name in names
        if not name.endswith('_total')
        and name.removesuffix('_bucket').removesuffix('_count').removesuffix('_sum') not in text
    )
    assert missing == []
