"""What stands in each line of the log."""

import io
import json
import logging
import threading

import amqp.exceptions
import kombu.exceptions
import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_log import formatters, log

from cells import logs, paths

LOG = logging.getLogger('cells.test_logs')


@pytest.fixture
def conf():
    """Give a configuration, and have logging afterwards as it was before."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    yield conf
    root.handlers[:] = before
    root.setLevel(level)


def set_up(conf, *arguments):
    """Set logging up and return what is written."""
    conf(list(arguments), project='cells')
    logs.setup(conf, 'region-1')
    written = io.StringIO()
    [handler] = [
        one
        for one in logging.getLogger().handlers
        if isinstance(one.formatter, formatters.ContextFormatter | formatters.JSONFormatter)
    ]
    handler.setStream(written)
    return written


def test_o9_a_line_names_the_request_and_the_way_that_it_came(conf):
    written = set_up(conf)
    with logs.scope('req-1', paths.CellPath(('api', 'region-1'))):
        LOG.warning('something')
    LOG.warning('something else')
    first, second = written.getvalue().splitlines()
    assert first.endswith(' WARNING cells.test_logs [req-1 api!region-1] something')
    assert second.endswith(' WARNING cells.test_logs [- region-1] something else')


def test_lines_of_libraries_name_it_as_well(conf):
    written = set_up(conf)
    with logs.scope('req-1'):
        logging.getLogger('oslo.messaging.anything').warning('lost')
    assert '[req-1 region-1] lost' in written.getvalue()


def test_each_line_of_a_traceback_names_it(conf):
    written = set_up(conf)
    with logs.scope('req-1'):
        try:
            raise LookupError('nothing there')
        except LookupError:
            LOG.exception('failed')
    lines = written.getvalue().splitlines()
    assert len(lines) > 3
    assert all('[req-1 region-1]' in line for line in lines)


def test_what_becomes_known_later_is_noted(conf):
    written = set_up(conf)
    with logs.scope():
        logs.note('req-2', paths.CellPath(('a', 'b')))
        with logs.scope('req-3'):
            LOG.warning('inner')
        LOG.warning('outer')
    logs.note('req-4', None)
    LOG.warning('after')
    ends = [line.partition('test_logs ')[2] for line in written.getvalue().splitlines()]
    assert ends == ['[req-3 region-1] inner', '[req-2 a!b] outer', '[- region-1] after']


def test_threads_have_requests_of_their_own(conf):
    written = set_up(conf)
    with logs.scope('req-1'):
        thread = threading.Thread(target=LOG.warning, args=('aside',))
        thread.start()
        thread.join()
    assert '[- region-1] aside' in written.getvalue()


@pytest.mark.parametrize('request_id', ['a\nb', 'x' * 65, '', 7, None, {'a': 1}, 'é'])
def test_an_id_cannot_pretend_to_be_another_line(conf, request_id):
    written = set_up(conf)
    with logs.scope(request_id):
        LOG.warning('something')
    [line] = written.getvalue().splitlines()
    assert line.endswith('[- region-1] something')


def test_o9_the_json_formatter_has_both(conf):
    written = set_up(conf, '--use-json')
    with logs.scope('req-1', paths.CellPath(('api', 'region-1'))):
        LOG.warning('something %s', 'here')
    found = json.loads(written.getvalue())
    assert found['message'] == 'something here'
    assert (found['context']['request_id'], found['context']['cell']) == ('req-1', 'api!region-1')


def quiet(name):
    """Return a logger with the filter of this test alone."""
    found = logging.getLogger(name)
    found.filters[:] = found.filters[-1:]
    return found


def test_o9_a_broker_that_is_away_is_not_complained_of_with_each_attempt(conf):
    written = set_up(conf)
    library = quiet(logs.BROKERS[0])
    for attempt in range(50):
        for port in (5671, 5672):
            library.error(
                '[%(connection_id)s] AMQP server on %(hostname)s:%(port)s is unreachable: '
                '%(err_str)s. Trying again in %(sleep_time)d seconds.',
                {
                    'connection_id': attempt,
                    'hostname': 'broker',
                    'port': port,
                    'err_str': 'ECONNREFUSED',
                    'sleep_time': attempt,
                },
            )
        library.error('Connection failed: %s (retrying in %s seconds)', 'refused', attempt)
        library.error('Unable to connect to it')
    lines = written.getvalue().splitlines()
    assert len(lines) == 4
    assert [line for line in lines if 'broker:5672 is unreachable' in line]


def test_a_complaint_is_made_again_after_a_while():
    spared = logs.Sparing(seconds=0)
    record = logging.makeLogRecord({'levelno': logging.ERROR, 'msg': 'away'})
    assert [spared.filter(record) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize('name', logs.BROKERS)
def test_a_broker_that_is_away_leaves_no_traceback(conf, name):
    written = set_up(conf)
    library = quiet(name)
    for what, error in (
        ('At first one', oslo_messaging.MessageDeliveryFailure('it refuses user nova')),
        ('One', ConnectionResetError(104, 'reset by peer')),
        ('Another', kombu.exceptions.OperationalError('away')),
        ('A third', amqp.exceptions.RecoverableConnectionError('gone')),
        ('A mistake', ValueError('of another kind')),
    ):
        try:
            raise error
        except (
            OSError,
            ValueError,
            oslo_messaging.MessageDeliveryFailure,
            kombu.exceptions.OperationalError,
            amqp.exceptions.AMQPError,
        ):
            library.exception('%s failed', what)
    failed, first, second, third, fourth, *rest = written.getvalue().splitlines()
    assert failed.endswith('MessageDeliveryFailure: it refuses user nova')
    assert first.endswith('One failed: ConnectionResetError: [Errno 104] reset by peer')
    assert 'Another failed: kombu.exceptions.OperationalError: away' in second
    assert 'A third failed: amqp.exceptions.RecoverableConnectionError' in third
    assert 'A mistake failed' in fourth
    assert 'Traceback' in rest[0]


@pytest.mark.parametrize('name', logs.BROKERS)
def test_an_error_of_another_kind_passes_each_time_whatever_came_before(conf, name):
    written = set_up(conf)
    library = quiet(name)
    for error in (ConnectionResetError(104, 'reset'), ValueError('one'), ValueError('two')):
        try:
            raise error
        except (OSError, ValueError):
            library.exception('Failed to process incoming message, retrying..')
    assert written.getvalue().count('ValueError: one') >= 1
    assert written.getvalue().count('ValueError: two') >= 1
    for reply in ('a', 'b'):
        logging.getLogger(logs.BROKERS[1]).error('Reply %(id)s is abandoned', {'id': reply})
    assert 'Reply a is abandoned' in written.getvalue()
    assert 'Reply b is abandoned' in written.getvalue()


def test_the_format_of_an_operator_comes_first(conf, tmp_path):
    path = tmp_path / 'my.conf'
    path.write_text('[DEFAULT]\nlogging_default_format_string = <%(cell)s> %(message)s\n')
    written = set_up(conf, '--config-file', str(path))
    LOG.warning('something')
    assert written.getvalue() == '<region-1> something\n'
