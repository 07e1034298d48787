"""What an operator sees of daemons, while things go wrong: pages, metrics, reports, logs."""

import contextlib
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client import parser

from cells import exceptions
from cells.objects.instance import Instance
from tests import deploy, deploy_hosts, servers
from tests.conftest import open_directory
from tests.functional.test_programs import run

ADMIN_PASSWORD = 'Adm1n-Passw0rd'
OPTIONS = 'call_timeout = 5\nreceipt_timeout = 2\nmute_child_interval = 9\n'


class Watched:
    """The pages of one daemon."""

    def __init__(self, deployed, port):
        self.deployed = deployed
        self.port = port

    def get(self, path):
        """Return status and text of a page; 0 when nobody listens."""
        try:
            with urllib.request.urlopen(
                'http://127.0.0.1:%d%s' % (self.port, path), timeout=60
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, '{}'

    def page(self, path):
        status, text = self.get(path)
        return status, json.loads(text)

    def wait(self, path, status, reason='', seconds=60):
        """Wait for a status, and for a text among what is wrong; return the page."""
        last = []

        def found():
            last[:] = self.page(path)
            return last[0] == status and (not reason or reason in json.dumps(last[1]['wrong']))

        try:
            deploy.wait_until(found, seconds, path)
        except AssertionError:
            raise AssertionError('%s of %s is %s' % (path, self.deployed, last)) from None
        return last[1]

    def samples(self):
        status, text = self.get('/metrics')
        assert status == 200
        return [
            sample
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def sample(self, name, **labels):
        """Return the largest value of a metric with these labels; None without any."""
        return max(self.values(name, **labels), default=None)

    def least(self, name, **labels):
        """Return the smallest value, of all workers, of a metric with these labels."""
        return min(self.values(name, **labels))

    def values(self, name, **labels):
        return [
            one.value
            for one in self.samples()
            if one.name == name and labels.items() <= one.labels.items()
        ]


class Setting:
    """Two cells and a host, watched."""

    def __init__(self, tree, agent, database):
        self.tree = tree
        self.agent = agent
        self.database = database
        self.pages = {}

    def logs(self):
        return ''.join([*(one.log() for one in self.tree.cells.values()), self.agent.log()])


@pytest.fixture(scope='module')
def setting(rabbit, postgresql):
    directory = open_directory()
    tree = deploy.Tree(
        directory / 'tree',
        rabbit,
        lambda name: postgresql.create_database(name.replace('-', '_')),
        {'api': None, 'leaf': 'api'},
        prefix='monitored-',
        options=OPTIONS,
        debug=True,
    )
    tree['leaf'].concurrency = 'eventlet'
    agent = deploy_hosts.Agent(
        directory / 'host', 'host-1', tree['leaf'].transport_url, options='[compute]'
    )
    found = Setting(tree, agent, postgresql)
    for one in (*tree.cells.values(), agent):
        port = servers.free_port()
        text = one.conf_file.read_text()
        # The leaf writes its log as JSON.
        text = text.replace('[DEFAULT]', '[DEFAULT]\nuse_json = %s' % (one is tree['leaf']), 1)
        one.conf_file.write_text(text + '\n[monitoring]\nport = %d\nwedged_after = 5\n' % port)
        name = 'host' if one is agent else one.name
        found.pages[name] = Watched(one, port)
    try:
        tree.start()
        agent.start()
        for watched in found.pages.values():
            watched.wait('/readyz', 200)
        yield found
    finally:
        agent.end()
        tree.stop()


def test_o9_a_daemon_with_which_all_is_well_says_so(setting):
    api = setting.pages['api']
    page = deploy.wait_until(
        lambda: (p := api.page('/readyz')[1])['neighbours'] == {'leaf': 'up'} and p, 30, 'leaf up'
    )
    assert page['ready'] is True
    assert page['wrong'] == []
    assert page['cell'] == 'api'
    assert list(page['workers'].values()) == ['serves', 'serves']
    assert api.page('/healthz') == (200, {'healthy': True, 'wrong': []})
    assert api.get('/other')[0] == 404
    assert setting.pages['host'].page('/readyz')[1]['host'] == 'host-1'


def test_o9_metrics_say_of_each_neighbour_how_it_does(setting):
    for name, neighbour, side in (('api', 'leaf', 'child'), ('leaf', 'api', 'parent')):
        watched = setting.pages[name]
        deploy.wait_until(
            lambda w=watched, n=neighbour: w.sample('cells_answer_seconds_count', neighbour=n),
            30,
            '%s has asked %s something' % (name, neighbour),
        )
        assert watched.sample('cells_neighbour_up', neighbour=neighbour, side=side) == 1
        for metric in (
            'cells_messages_received_total',
            'cells_messages_sent_total',
            'cells_transit_seconds_count',
            'cells_neighbour_last_seen_time_seconds',
        ):
            assert watched.sample(metric, neighbour=neighbour) > 0, metric
        assert watched.sample('cells_parked_messages') == 0
        assert watched.sample('cells_database_up') == 1
        assert watched.sample('cells_workers_expected') == 2
    deploy.wait_until(
        lambda: setting.pages['leaf'].sample('cells_hosts', state='up') == 1, 30, 'the host is up'
    )
    assert setting.pages['host'].sample('cells_host_reports_taken') == 1
    assert setting.pages['host'].sample('cells_database_up') is None


def order_a_password(setting):
    """Order something whose argument is a secret, and that the leaf cannot do."""
    ctxt = deploy.admin()
    instance = Instance(
        id=1, uuid='11111111-2222-3333-4444-555555555555', cell_name='api!leaf', vm_state='active'
    )
    with contextlib.suppress(exceptions.WireError):
        setting.tree.api('api').set_admin_password(ctxt, instance, ADMIN_PASSWORD)
    return ctxt.request_id


def test_o9_a_request_is_found_by_its_id_in_the_log_of_each_cell(setting):
    request_id = order_a_password(setting)
    deploy.wait_until(
        lambda: request_id in setting.tree['leaf'].log(), 30, 'the order is in the log of the leaf'
    )
    lines = [json.loads(line) for line in setting.tree['leaf'].log().splitlines()]
    mine = [line for line in lines if line['context']['request_id'] == request_id]
    assert mine
    assert {line['context']['cell'] for line in mine} == {'api!leaf'}
    assert {line['context']['cell'] for line in lines} <= {'api!leaf', 'leaf', 'leaf!api!leaf'}


def test_every_line_of_a_log_names_its_cell(setting):
    begins = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \d+ [A-Z]+ \S+ \[\S+ \S*api\S*\] ')
    lines = setting.tree['api'].log().splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not begins.match(line)] == []
    begins = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \d+ [A-Z]+ \S+ \[\S+ host-1\] ')
    assert [line for line in setting.agent.log().splitlines() if not begins.match(line)] == []


def test_o9_a_broker_that_is_away_is_seen_and_said_once_per_change(setting, rabbit):
    before = setting.tree['api'].log()
    rabbit.stop()
    try:
        for name in ('api', 'leaf', 'host'):
            page = setting.pages[name].wait('/readyz', 503, 'message bus: away')
            assert page['ready'] is False
            assert setting.pages[name].get('/healthz')[0] == 200
        assert setting.pages['api'].least('cells_message_bus_up') == 0
        deploy.wait_until(
            lambda: setting.pages['api'].least('cells_neighbour_link_up', neighbour='leaf') == 0,
            30,
            'its link is down',
        )
    finally:
        rabbit.start()
    for watched in setting.pages.values():
        watched.wait('/readyz', 200, seconds=120)
    written = setting.tree['api'].log().removeprefix(before)
    for pid in setting.tree['api'].worker_pids():
        mine = [line for line in written.splitlines() if line.split()[2:3] == [str(pid)]]
        assert sum('Cell leaf: link down' in line for line in mine) <= 1
        assert sum('message bus is away' in line for line in mine) <= 1
        assert sum('message bus is there again' in line for line in mine) <= 1
    loud = [line for line in written.splitlines() if re.search(r' (WARNING|ERROR) ', line)]
    assert len(loud) < 40, '\n'.join(loud)


def test_o9_a_database_that_is_away_is_seen(setting):
    setting.database.stop()
    try:
        for name in ('api', 'leaf'):
            setting.pages[name].wait('/readyz', 503, 'database: ')
            assert setting.pages[name].get('/healthz')[0] == 200
            assert setting.pages[name].sample('cells_database_up') == 0
            assert setting.pages[name].sample('cells_messages_sent_total') > 0
        assert setting.pages['host'].get('/healthz')[0] == 200
    finally:
        setting.database.start()
    for watched in setting.pages.values():
        watched.wait('/readyz', 200, seconds=120)


def test_o9_a_worker_that_is_wedged_is_seen(setting):
    deployed, watched = setting.tree['leaf'], setting.pages['leaf']
    pid = worker_pids(watched)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        page = watched.wait('/healthz', 503, 'is wedged: no sign of life')
        assert '(pid %d)' % pid in page['wrong'][0]
        assert watched.get('/readyz')[0] == 503
    finally:
        os.kill(pid, signal.SIGCONT)
    watched.wait('/healthz', 200)
    assert not deployed.ended()


def worker_pids(watched):
    return [
        json.loads(path.read_text())['pid']
        for path in sorted(watched.deployed.directory.glob('*.vitals.json'))
    ]


def test_o9_d10_workers_that_were_killed_are_seen_and_know_their_neighbours_at_once(setting):
    deployed, watched = setting.tree['api'], setting.pages['api']
    killed = worker_pids(watched)
    # Their master starts others in no time: it is held until it was seen that none runs.
    os.kill(deployed.process.pid, signal.SIGSTOP)
    try:
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        watched.wait('/healthz', 503, '0 of 2 workers run')
    finally:
        os.kill(deployed.process.pid, signal.SIGCONT)
    # Who had to hear from it first would not know it; it is mute if the others were held long.
    page = watched.wait('/readyz', 200)
    assert page['neighbours']['leaf'] in {'up', 'mute'}
    deploy.wait_until(lambda: watched.page('/readyz')[1]['neighbours'] == {'leaf': 'up'}, 60, 'up')
    assert watched.least('cells_neighbour_last_seen_time_seconds', neighbour='leaf') > 0
    assert not set(killed) & set(worker_pids(watched))


def test_the_monitor_comes_again_when_it_is_killed(setting):
    deployed, watched = setting.tree['leaf'], setting.pages['leaf']
    [pid] = set(deployed.worker_pids()) - set(worker_pids(watched))
    os.kill(pid, signal.SIGKILL)
    deploy.wait_until(lambda: pid not in deployed.worker_pids(), 30, 'it has ended')
    watched.wait('/readyz', 200)


@pytest.mark.parametrize('name', ['api', 'leaf'], ids=['threading', 'eventlet'])
def test_the_stacks_of_a_wedged_worker_are_shown_and_it_is_replaced(setting, name):
    deployed, watched = setting.tree[name], setting.pages[name]
    pid = worker_pids(watched)[0]
    os.kill(pid, signal.SIGSTOP)
    watched.wait('/healthz', 503, 'is wedged: no sign of life')
    os.kill(pid, signal.SIGABRT)
    os.kill(pid, signal.SIGCONT)
    deploy.wait_until(lambda: pid not in deployed.worker_pids(), 60, 'it has ended')
    assert 'Fatal Python error: Aborted' in deployed.log()
    assert 'hread 0x' in deployed.log()  # under eventlet there is the current one only
    watched.wait('/readyz', 200)
    assert pid not in worker_pids(watched)


def test_o9_a_child_that_is_killed_is_a_warning(setting):
    setting.tree['leaf'].kill()
    watched = setting.pages['api']
    deploy.wait_until(
        lambda: 'child leaf is mute' in json.dumps(watched.page('/readyz')[1].get('warnings')),
        60,
        'the leaf is mute',
    )
    status, page = watched.page('/readyz')
    assert (status, page['neighbours']) == (200, {'leaf': 'mute'})
    assert watched.least('cells_neighbour_up', neighbour='leaf') == 0
    assert setting.pages['leaf'].get('/readyz')[0] == 0
    setting.pages['host'].wait('/readyz', 503, 'waits for its cell')
    order_a_password(setting)
    deploy.wait_until(
        lambda: (watched.sample('cells_outbox_oldest_seconds', neighbour='leaf') or 0) > 1,
        30,
        'the order waits for the leaf',
    )


def test_a_report_shows_what_a_process_is_at(setting):
    deployed = setting.tree['api']
    for pid in [deployed.process.pid, *deployed.worker_pids()]:
        os.kill(pid, signal.SIGUSR2)
    deploy.wait_until(lambda: deployed.log().count('Mailboxes') >= 2, 30, 'the workers report')
    deploy.wait_until(lambda: deployed.log().count('Guru Meditation') >= 4, 30, 'all report')
    report = deployed.log()
    for text in (
        'Configuration',
        'database:',
        'Neighbours',
        '"name": "leaf"',
        'Journal',
        '"parked": 0',
    ):
        assert text in report
    assert not deployed.ended()
    setting.pages['api'].wait('/readyz', 200)


def test_reports_that_are_asked_for_again_and_again_cost_no_process(setting):
    deployed = setting.tree['api']
    pids, start = deployed.worker_pids(), len(deployed.log())
    for _ in range(20):
        for pid in [deployed.process.pid, *pids]:
            os.kill(pid, signal.SIGUSR2)
        time.sleep(0.1)
    for pid in [deployed.process.pid, *pids]:
        line = '\nProcess %d ' % pid
        deploy.wait_until(lambda line=line: line in deployed.log()[start:], 60, line)
    assert not deployed.ended()
    assert deployed.worker_pids() == pids


def test_x7_no_secret_is_in_any_log_report_page_or_metric(setting, rabbit, postgresql):
    shown = setting.logs()
    for watched in setting.pages.values():
        shown += ''.join(watched.get(path)[1] for path in ('/healthz', '/readyz', '/metrics'))
    for one in (*setting.tree.cells.values(), setting.agent):
        shown += ''.join(path.read_text() for path in one.directory.glob('*.vitals.json'))
    assert 'Guru Meditation' in shown
    assert 'cells_messages_sent_total' in shown
    for secret in (rabbit.password, postgresql.password, ADMIN_PASSWORD):
        assert len(secret) > 7
        place = shown.find(secret)
        assert place < 0, shown[max(0, place - 300) : place].replace(secret, '***')


def test_o10_all_end_in_order(setting):
    assert setting.tree['api'].stop() == 0
    assert setting.pages['api'].get('/healthz')[0] == 0
    assert list(setting.tree['api'].directory.glob('*.vitals.json')) == []
    setting.agent.end()


def test_systemd_is_told_when_a_daemon_is_up_and_hup_leaves_it_up(setting, monkeypatch):
    deployed, watched = setting.tree['leaf'], setting.pages['leaf']
    path = str(deployed.directory / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(path)
        notified.settimeout(60)
        monkeypatch.setenv('NOTIFY_SOCKET', path)
        deployed.start(wait=False)
        assert b'READY=1' in notified.recv(1000)
    watched.wait('/readyz', 200)
    deployed.process.send_signal(signal.SIGHUP)
    watched.wait('/readyz', 200)
    assert not deployed.ended()


@pytest.mark.parametrize(
    ('program', 'values', 'text'),
    [
        ('nova-cells', 'port = %(used)d', 'port = %(used)d cannot be listened on: Address already'),
        ('nova-cells-compute', 'port = %(used)d', 'cannot be listened on: Address already in use'),
        ('nova-cells', 'port = %(free)d\naddress = 192.0.2.1', 'Cannot assign requested address'),
        ('nova-cells-compute', 'port = 70000', 'port'),
    ],
)
def test_a_port_or_an_address_that_cannot_be_is_said_in_one_line(
    setting, tmp_path, program, values, text
):
    deployed = setting.tree['leaf'] if program == 'nova-cells' else setting.agent
    with socket.socket() as used:
        used.bind(('127.0.0.1', 0))
        used.listen()
        names = {'used': used.getsockname()[1], 'free': servers.free_port()}
        changed = tmp_path / 'changed.conf'
        changed.write_text('[monitoring]\n%s\n' % (values % names))
        files = ('--config-file', str(deployed.conf_file), '--config-file', str(changed))
        refused = run(program, *files)
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith(program)
    assert text % names in last
    assert 'Traceback' not in refused.stderr
