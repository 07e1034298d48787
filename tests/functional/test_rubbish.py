"""Rubbish on the queues of a cell: refused with a line each, counted, and nothing worse.

First over the fake driver, where hypothesis makes the messages; then over
RabbitMQ, where anybody can put any bytes into a queue of a real daemon.
"""

import copy
import json
import logging
import os
import re
import shutil
import threading
import time

import hypothesis
import kombu
import oslo_messaging
import pytest
from hypothesis import strategies as st

from cells import context, exceptions, routing, rpc, wire
from cells.drivers import base, fake, settings
from cells.operations import OPERATIONS, Kind
from cells.state import CellState
from tests import deploy, fake_cells
from tests.conftest import open_directory
from tests.unit import builders

NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'
BATCH = 10
BATCHES = 1000 if NIGHTLY else 30
#: How much longer than a name may be, a line of the log may be.
LONGEST_LINE = 1500
MAX_BYTES = 200_000

#: What could make a terminal or a second line of a line of the log.
CONTROL = re.compile('[\x00-\x1f\x7f-\x9f]')

CELLS = {'top': None, 'mid': 'top', 'leaf': 'mid'}


# -- what is sent --

NASTY = (
    st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            2**31,
            2**63,
            2**64 + 1,
            10**100,
            -(10**100),
            1e308,
            -1e308,
            '',
            ' ',
            '!',
            '@',
            'top',
            'top!mid',
            'mid!top',
            'top!mid!leaf',
            'a!b!c',
            'top!mid!\x9b31m',
            'leaf!mid!\x85',
            'top!mid!' + 'x' * 255,
            'top!' * 1000 + 'mid',
            '\0',
            'a\nb',
            '\x1b[31m',
            'ü' * 300,
            '%s%d%n',
            "'; drop table services; --",
            'x' * 5000,
            '2016-13-45T00:00:00Z',
            '0001-01-01T00:00:00+23:59',
            '99999999999999999999',
            [],
            {},
            [[]],
            [None],
            {'': None},
            [1, 'x', {}],
            {'nova_object.name': 'Instance'},
            {
                'nova_object.name': 'Service',
                'nova_object.version': '1.99',
                'nova_object.namespace': 'nova',
                'nova_object.data': {'id': 'x'},
            },
            {
                'nova_object.name': ['Instance'],
                'nova_object.version': {},
                'nova_object.data': [],
                'nova_object.changes': 7,
            },
        ]
    )
    | builders.JSON
)


def envelope(kind, direction='down', **values):
    """Return an envelope that mid takes from its parent, or from its child."""
    sender = 'top' if direction == 'down' else 'leaf'
    found = {
        'message_type': kind,
        'ctxt': {'user_id': 'u', 'project_id': 'p', 'request_id': 'req-1', 'roles': ['admin']},
        'method_name': 'service_get_all',
        'method_kwargs': {'filters': None},
        'direction': direction,
        'need_response': True,
        'fanout': False,
        'uuid': builders.UUID,
        'routing_path': sender,
        'hop_count': 1,
        'max_hop_count': 10,
        **values,
    }
    if kind != 'broadcast':
        found.setdefault('target_cell', sender + '!mid')
    return found


RESPONSES = st.lists(
    st.builds(
        lambda cell, failure, value: json.dumps(
            {'cell_name': cell, 'failure': failure, 'value': value}
        ),
        NASTY,
        st.booleans() | NASTY,
        NASTY | st.dictionaries(st.sampled_from(['class', 'module', 'args', 'kwargs']), NASTY),
    )
    | NASTY,
    max_size=3,
)


@st.composite
def orders(draw):
    """Questions, changes and notices of every operation, with arguments that hardly fit."""
    row = draw(st.sampled_from(sorted(OPERATIONS.values(), key=lambda row: row.name)))
    direction = row.direction.value if row.direction else draw(st.sampled_from(['up', 'down']))
    kind = draw(st.sampled_from(sorted(row.kinds, key=lambda kind: kind.value))).value
    names = st.sampled_from(ARGUMENTS) | builders.TEXT
    return envelope(
        kind,
        direction,
        method_name=row.name,
        method_kwargs=draw(st.dictionaries(names, NASTY, max_size=4)),
        need_response=draw(st.sampled_from([row.replies, not row.replies])),
        uuid=str(draw(st.uuids())),
    )


ARGUMENTS = [
    *('filters', 'project_id', 'updated_since', 'deleted', 'task_name', 'period_beginning'),
    *('period_ending', 'host', 'state', 'uuids', 'cell_name', 'capabilities', 'capacities'),
    *('host_name', 'binary', 'params_to_update', 'service_id', 'compute_id', 'instance_uuid'),
    *('request_id', 'action_id', 'method_info', 'topic', 'rpc_message', 'call', 'timeout'),
    *('user_id', 'name', 'console_port', 'console_type', 'hypervisor_match', 'ctxt', 'message'),
]


@st.composite
def answers(draw):
    """Answers to what nobody asked, with anything in them."""
    return envelope(
        'response',
        'up',
        method_name='parse_responses',
        method_kwargs={'orig_message': '{}', 'responses': draw(RESPONSES)},
        need_response=False,
        response_uuid=draw(st.sampled_from([builders.UUID, 'x;w=top.0', 'x;w=' + 'ü' * 100])),
        target_cell=draw(st.sampled_from(['leaf!mid', 'leaf!mid!top', 'leaf!mid!x', 'leaf'])),
    )


ENVELOPES = orders() | answers() | st.sampled_from(['targeted', 'broadcast']).map(envelope)

KEYS = [*envelope('response', response_uuid=''), wire.EXTENSION_KEY, 'later']

EXTENSIONS = st.fixed_dictionaries(
    {'v': st.just(1) | NASTY, 't': st.just(time.time()) | NASTY},
    optional={'b': NASTY, 'w': NASTY, 'i': NASTY},
)

CHANGES = st.one_of(
    st.tuples(st.just('drop'), st.sampled_from(KEYS)),
    st.tuples(st.just('put'), st.sampled_from(KEYS), NASTY),
    st.tuples(st.just('put'), st.just(wire.EXTENSION_KEY), EXTENSIONS),
    st.tuples(st.just('context'), st.sampled_from(['user_id', 'roles', 'timestamp']), NASTY),
)


def changed(sent, changes):
    """Return the text of an envelope after these changes."""
    sent = copy.deepcopy(sent)
    for what, key, *value in changes:
        if what == 'drop':
            sent.pop(key, None)
        elif what == 'put':
            sent[key] = value[0]
        elif isinstance(sent.get('ctxt'), dict):
            sent['ctxt'][key] = value[0]
    return json.dumps(sent)


def deep(number):
    return json.dumps(envelope('broadcast', method_kwargs={'filters': 'DEEP'})).replace(
        '"DEEP"', '[' * number + ']' * number
    )


ALTERED = st.builds(changed, ENVELOPES, st.lists(CHANGES, min_size=1, max_size=3))
WHOLE = st.builds(changed, ENVELOPES, st.just([]))

TEXTS = st.one_of(
    *(ALTERED, ALTERED, ALTERED, WHOLE, WHOLE, WHOLE),
    st.builds(
        lambda sent, start, put: json.dumps(sent)[:start] + put + json.dumps(sent)[start:],
        ENVELOPES,
        st.integers(0, 400),
        st.sampled_from(['"', '}', '\0', '\ud800', 'ü', '9' * 30, '9' * 5000, 'NaN', '[[']),
    ),
    st.builds(lambda sent, end: json.dumps(sent)[:end], ENVELOPES, st.integers(0, 500)),
    st.integers(90, 3000).map(deep),
    builders.JSON.map(json.dumps) | st.text(max_size=50),
    st.just('x' * (MAX_BYTES + 1)),
)


# -- over the fake driver --


class Lines(logging.Handler):
    """What the cells log."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def take(self):
        """Return what was logged since the last time."""
        found, self.records = self.records, []
        return found

    def refusals(self):
        """Return the lines in which mid refuses something."""
        lines = [record.getMessage() for record in list(self.records)]
        return [
            line
            for line in lines
            if line.startswith('Refused') and not re.search('came by [^ ]+!(top|leaf):', line)
        ]


class Sender:
    """Puts texts into the queues of mid."""

    def __init__(self, tree, url):
        self.mid = tree['mid']
        self.tree = tree
        self.state = CellState('mid', False, url)
        self.driver = fake.FakeDriver(
            settings.DriverSettings(
                conf=None,
                transport_url=url + '-sender',
                queue_base='',
                server='sender',
                prefetch=1,
                queue_type='classic',
                send_queue_length=1000,
            )
        )
        self.lines = Lines()

    def send(self, text, kind):
        """Put a text into a queue."""
        sent = threading.Event()
        self.driver.send(
            self.state, base.Outgoing(kind=kind, text=text, ctxt={}, on_sent=lambda _: sent.set())
        )
        assert sent.wait(10)

    def refused(self):
        """Return how many messages mid has refused."""
        found = self.mid.stats.snapshot()
        return sum(count for key, count in found.items() if key.startswith('messages_refused'))

    def ask(self):
        """Ask all cells something good; returns those that did not answer."""
        found = self.tree['top'].runner.broadcast(
            context.RequestContext('u', 'p', is_admin=True), 'service_get_all', {}
        )
        return {'top', 'top!mid', 'top!mid!leaf'} - {
            one.cell_name for one in found if one.failure is None
        }

    def must_refuse(self, text):
        """Tell whether a text cannot be a message for mid."""
        if len(text.encode('utf-8', 'replace')) > MAX_BYTES:
            return True
        try:
            message = wire.decode(text)
            routing.check_arrival(message, self.mid.state.topology.neighbours)
        except (exceptions.InvalidMessage, exceptions.CellRoutingInconsistency):
            return True
        return False


@pytest.fixture(scope='module')
def sender():
    """A running tree of three and what sends rubbish to its middle cell."""
    workdir = open_directory()
    tree = {}
    for name, parent in CELLS.items():
        others = {other: False for other, above in CELLS.items() if above == name}
        if parent:
            others[parent] = True
        tree[name] = fake_cells.build(workdir, name, others, max_message_bytes=MAX_BYTES)
    for one in tree.values():
        one.start()
    found = Sender(tree, fake_cells.address(workdir, 'mid'))
    logging.getLogger().addHandler(found.lines)
    deploy.wait_until(lambda: not found.ask(), 20, 'all cells answer')
    yield found
    logging.getLogger().removeHandler(found.lines)
    found.driver.close()
    for one in tree.values():
        one.stop()
    shutil.rmtree(workdir)


@hypothesis.settings(
    max_examples=BATCHES,
    deadline=None,
    derandomize='CI' in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@hypothesis.given(st.lists(st.tuples(TEXTS, st.sampled_from(Kind)), min_size=BATCH, max_size=BATCH))
def test_a_cell_refuses_rubbish_with_a_line_each_and_goes_on(sender, batch):
    sender.lines.take()
    before = sender.refused()
    markers = ['{"message_type": "last in %s"}' % kind.value for kind in Kind]
    for text, kind in [*batch, *zip(markers, Kind, strict=True)]:
        sender.send(text, kind)
    deploy.wait_until(
        lambda: sum("'last in " in line for line in sender.lines.refusals()) == len(Kind),
        60,
        'all queues are read',
    )
    deploy.wait_until(lambda: not sender.ask(), 30, 'all cells answer')
    wanted = sum(sender.must_refuse(text) for text, _ in batch)
    deploy.wait_until(
        lambda: (
            wanted + len(Kind)
            <= len(sender.lines.refusals())
            == sender.refused() - before
            <= BATCH + len(Kind)
        ),
        30,
        'what is refused is counted, and there is a line for each: %s' % sender.lines.refusals(),
    )
    for line in sender.lines.refusals():
        assert re.search('came by|from an unknown sender|is not one of|two cells are', line), line
    for record in sender.lines.take():
        line = record.getMessage()
        assert record.exc_info is None, logging.Formatter().format(record)
        assert len(line) <= LONGEST_LINE, line
        assert not CONTROL.search(line), ascii(line)


# -- over RabbitMQ, with a real daemon --


def body(method='process_message', args=None, **values):
    """Return what oslo.messaging would send."""
    content = {'method': method, 'args': {} if args is None else args, **values}
    return json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(content)})


#: No RPC at all, on any queue.
NO_RPC = {
    'empty': b'',
    'no text': b'\xff\xfe\x00',
    'not JSON': b'{"oslo.version": "2.0", ',
    'another JSON': b'[{}]',
    'no method': b'{"args": {}}',
    'another version of the envelope': b'{"oslo.version": "1.0", "oslo.message": "{}"}',
    'an envelope around nothing': b'{"oslo.version": "2.0", "oslo.message": null}',
    'deep': b'[' * 100_000 + b']' * 100_000,
    'deep inside': b'{"method": "process_message", "args": {"message": %s}}'
    % (b'[' * 100_000 + b']' * 100_000),
    'arguments that are a list': body(args=[1]),
    'a version that is none': body(version='latest'),
    'an id that is none': body(_unique_id={'a': 1}),
    'a reply queue that is none': body(_msg_id='m', _reply_q=['x']),
    'a time-out that is none': body(_timeout='soon'),
    'half a character': b'{"method": "\\ud800", "args": {}}',
}

#: RPCs that are no message between cells.
NO_MESSAGE = {
    'another method': body('delete_everything'),
    'another version': body(version='2.0', args={'message': '{}'}),
    'no arguments': body(),
    'a message that is no text': body(args={'message': {'a': 1}}),
    'a message that is no envelope': body(args={'message': '[]'}),
    'a message of too many bytes': body(args={'message': 'x' * 9 * 1024 * 1024}),
    'a deep message': body(args={'message': '[' * 100_000}),
    'a stranger': body(args={'message': json.dumps(envelope('broadcast', routing_path='who'))}),
    'an unknown question': body(
        args={'message': json.dumps(envelope('broadcast', method_name='nosuch'))}
    ),
}

#: RPCs that are no call or cast of the contract.
NO_CAST = {
    'another method': body('delete_everything'),
    'a private method': body('__init__'),
    'another version': body('sync_instances', version='9.0'),
    'another namespace': body('sync_instances', namespace=['x']),
    'no arguments': body('sync_instances'),
    'other arguments': body('sync_instances', {'nosuch': 1, 'ctxt': 2, 'self': 3}),
    'an object that is none': body(
        'sync_instances',
        {
            'project_id': {'nova_object.name': 'Instance', 'nova_object.version': 'x'},
            'updated_since': None,
            'deleted': False,
        },
    ),
    'a time that is none': body(
        'sync_instances', {'project_id': 'p', 'updated_since': 'soon', 'deleted': False}
    ),
    'too many bytes': body('sync_instances', {'project_id': 'x' * 9 * 1024 * 1024}),
}


def publish(url, queue, bodies):
    """Put bodies into a queue, past all libraries that would refuse them."""
    # Without confirmation a quorum queue loses what is still under way when the channel closes.
    with kombu.Connection(
        url.replace('rabbit://', 'amqp://'), transport_options={'confirm_publish': True}
    ) as connection:
        producer = kombu.Producer(connection.channel())
        for one in bodies:
            producer.publish(
                one,
                routing_key=queue,
                content_type='application/json',
                content_encoding='binary' if isinstance(one, bytes) else 'utf-8',
            )


@pytest.fixture(scope='module', params=['threading', 'eventlet'])
def daemons(request, rabbit):
    """A tree of two cells, made of daemons."""
    workdir = open_directory()
    tree = deploy.Tree(
        workdir / 'tree',
        rabbit,
        deploy.sqlite(workdir),
        {'top': None, 'mid': 'top'},
        concurrency=request.param,
        prefix='rubbish_%s_' % request.param,
        options='call_timeout = 5',
    )
    with tree.running():
        yield tree
    shutil.rmtree(workdir)


def refused(ops):
    """Return how many messages the workers of a daemon have refused, all together."""
    found = {}

    def all_asked():
        status = ops.status(deploy.admin())
        counters = status['counters'].items()
        found[status['worker']] = sum(
            count for key, count in counters if key.startswith('messages_refused')
        )
        return len(found) == 2

    deploy.wait_until(all_asked, 20, 'both workers are asked')
    return sum(found.values())


@pytest.mark.parametrize(
    ('queue', 'rubbish'),
    [
        ('cells.intercell.targeted', NO_RPC | NO_MESSAGE),
        ('cells.intercell.broadcast', NO_RPC | NO_MESSAGE),
        ('cells.intercell.response', NO_RPC | NO_MESSAGE),
        ('cells', NO_RPC | NO_CAST),
    ],
)
def test_a_daemon_refuses_rubbish_with_a_line_each_and_serves_on(daemons, rabbit, queue, rubbish):
    mid = daemons['mid']
    ops = daemons.ops('mid')
    pids, before, start = mid.worker_pids(), refused(ops), len(mid.log())

    def lines():
        return [line for line in mid.log()[start:].splitlines() if re.search('WARN|ERROR', line)]

    def found():
        return [
            one for one in daemons.api('top').service_get_all(deploy.admin()) if 'mid' in one.host
        ]

    publish(mid.transport_url, queue, rubbish.values())
    deploy.wait_until(lambda: len(lines()) >= len(rubbish), 60, 'a line for each')
    deploy.wait_until(found, 30, 'it serves on')
    time.sleep(1)  # for a second round of what was not settled
    assert len(lines()) == len(rubbish), '\n'.join(lines())
    for line in lines():
        assert 'Refused' in line, line
        assert len(line) <= LONGEST_LINE, line
    assert 'Traceback' not in mid.log()
    vhost = mid.transport_url.rpartition('/')[2]
    deploy.wait_until(
        lambda: {one['messages'] for one in rabbit.list_queues(vhost)} == {0}, 60, 'all is settled'
    )
    assert refused(ops) - before == len(rubbish)
    assert mid.worker_pids() == pids


@pytest.mark.parametrize(
    ('method', 'version', 'error'),
    [
        ('nosuch', '1.0', 'NoSuchMethod'),
        ('__init__', '1.0', 'NoSuchMethod'),
        ('service_get_all', '9.9', 'UnsupportedVersion'),
    ],
)
def test_who_calls_what_is_not_there_is_told_and_the_log_has_a_line(
    daemons, method, version, error
):
    mid = daemons['mid']
    start = len(mid.log())
    transport = rpc.get_transport(daemons.conf('mid'))
    client = rpc.get_client(transport, 'cells', version=version, timeout=20, retry=1)
    # The second makes oslo.messaging watch over the call, which must end with it.
    for prepared in (client, client.prepare(call_monitor_timeout=10)):
        with pytest.raises(oslo_messaging.RemoteError, match=error) as raised:
            prepared.call(deploy.admin(), method)
        assert 'Traceback' not in str(raised.value)
    transport.cleanup()
    lines = [line for line in mid.log()[start:].splitlines() if re.search('WARN|ERROR', line)]
    assert len(lines) == 2
    assert all("Refused '%s' from u1" % method in line for line in lines), lines
    assert 'Traceback' not in mid.log()
