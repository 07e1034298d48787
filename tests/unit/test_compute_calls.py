"""What a caller waits for: the agent is asked outside of the transaction, orders until they end."""

import dataclasses
import threading
import time

import pytest

from cells import dispatch, exceptions
from cells.compute import orders
from cells.db import console_tokens, instances, models
from cells.messages import Extension
from tests.unit.compute_cases import Cell, new_database

INFO = {
    'token': 'tok',
    'host': '10.0.0.1',
    'port': 5900,
    'internal_access_path': None,
    'access_url': 'http://x/?token=tok',
}
CONSOLES = {
    'get_vnc_connect_info': ('get_vnc_console', 'novnc'),
    'get_spice_connect_info': ('get_spice_console', 'spice-html5'),
    'get_rdp_connect_info': ('get_rdp_console', 'rdp-html5'),
    'get_serial_console_connect_info': ('get_serial_console', 'serial'),
}
VIF = {'id': 'port-1'}
OTHER_VIF = {'id': 'port-2'}


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    cell.host('h1')
    yield cell
    database.dispose()


def later(cell, function, *args, **kwargs):
    """Return what a handler returns, before anybody looks at the answer."""
    cell.looks = False
    try:
        return function(*args, **kwargs)
    finally:
        cell.looks = True


# -- questions to the agent --


@pytest.mark.parametrize('name', ['get_diagnostics', 'get_instance_diagnostics'])
def test_the_counters_of_a_machine_come_from_its_host(cell, name):
    uuid = cell.instance()
    cell.agents.answers[name] = {'memory': 5}
    assert cell.call(name, uuid) == {'memory': 5}
    assert cell.agents.asked == [('h1', name, {'instance_uuid': uuid})]


@pytest.mark.parametrize('name', ['get_diagnostics', 'get_instance_diagnostics'])
@pytest.mark.parametrize('power_state', [0, 3, 4, 6, 7, None])
def test_a_machine_that_does_not_run_has_no_counters(cell, name, power_state):
    uuid = cell.instance(power_state=power_state)
    with pytest.raises(exceptions.InstanceInvalidState) as caught:
        cell.call(name, uuid)
    assert caught.value.kwargs['attr'] == 'power_state'
    assert caught.value.kwargs['method'] == name
    assert cell.agents.asked == []


@pytest.mark.parametrize(
    ('given', 'asked'), [(None, None), (10, 10), ('10', 10), (-1, None), (0, 0)]
)
def test_what_a_machine_has_written_comes_from_its_host(cell, given, asked):
    uuid = cell.instance()
    cell.agents.answers['get_console_output'] = 'text'
    assert cell.call('get_console_output', uuid, given) == 'text'
    assert cell.agents.asked[0][2] == {'instance_uuid': uuid, 'tail_length': asked}


@pytest.mark.parametrize('given', ['ten', -2, 1.5, True, [1], '-1', '９'])
def test_a_number_of_lines_that_is_none_is_the_callers_error(cell, given):
    with pytest.raises(exceptions.Invalid):
        cell.call('get_console_output', cell.instance(), given)
    assert cell.agents.asked == []


@pytest.mark.parametrize('name', CONSOLES)
def test_x5_the_right_to_a_console_is_noted_under_its_token(cell, name):
    uuid = cell.instance()
    method, kind = CONSOLES[name]
    cell.agents.answers[method] = dict(INFO)
    assert cell.call(name, uuid, kind) == INFO
    assert cell.agents.asked == [('h1', method, {'instance_uuid': uuid, 'console_type': kind})]
    found = console_tokens.token_get(cell.database, 'tok')
    assert (found['instance_uuid'], found['console_type']) == (uuid, kind)
    assert (found['host'], found['port']) == ('10.0.0.1', 5900)


@pytest.mark.parametrize(
    ('values', 'error'),
    [
        ({'task_state': 'deleting'}, exceptions.InstanceNotReady),
        ({'host': 'h2'}, exceptions.InstanceNotReady),
        (None, exceptions.InstanceNotFound),
    ],
)
def test_x5_who_asks_for_a_console_of_what_goes_meanwhile_gets_none(cell, values, error):
    uuid = cell.instance()

    def answer(kwargs):
        if values is None:
            cell.write(instances.instance_destroy, uuid)
        else:
            cell.change(uuid, **values)
        return dict(INFO)

    cell.agents.answers['get_vnc_console'] = answer
    with pytest.raises(error):
        cell.call('get_vnc_connect_info', uuid, 'novnc')
    assert cell.rows(models.ConsoleAuthToken) == []


@pytest.mark.parametrize('answer', [None, 'text', {}, {**INFO, 'port': 'x'}, {**INFO, 'token': 5}])
def test_an_agent_that_answers_with_no_console_is_an_error(cell, answer):
    cell.agents.answers['get_vnc_console'] = answer
    with pytest.raises(exceptions.Invalid):
        cell.call('get_vnc_connect_info', cell.instance(), 'novnc')
    assert cell.rows(models.ConsoleAuthToken) == []


@pytest.mark.parametrize('kind', [None, '', 5])
def test_a_type_of_console_that_is_no_text_is_the_callers_error(cell, kind):
    with pytest.raises(exceptions.Invalid):
        cell.call('get_vnc_connect_info', cell.instance(), kind)
    assert cell.agents.asked == []


@pytest.mark.parametrize(
    'name', [*CONSOLES, 'get_console_output', 'get_diagnostics', 'attach_volume']
)
def test_the_agent_is_asked_when_the_transaction_is_over(cell, name):
    """Otherwise a host that is silent would keep all others from the instance."""
    uuid = cell.instance()

    def answer(kwargs):
        cell.change(uuid, progress=77)  # would wait for ever within the same transaction
        return '/dev/vdb' if name == 'attach_volume' else dict(INFO)

    methods = [CONSOLES[name][0]] if name in CONSOLES else [name]
    cell.agents.answers = dict.fromkeys((*methods, 'reserve_block_device_name'), answer)
    args = {'attach_volume': ['v']}.get(name, [CONSOLES[name][1]] if name in CONSOLES else [])
    found = later(cell, cell.call, name, uuid, *args)
    assert isinstance(found, dispatch.Later)
    assert cell.agents.asked == []
    found.answer()
    assert len(cell.agents.asked) == 1


def test_what_nobody_waits_for_is_asked_of_nobody(cell):
    uuid = cell.instance()
    before = cell.everything()
    later(cell, cell.call, 'get_diagnostics', uuid, answered=False)
    assert (cell.agents.asked, cell.everything()) == ([], before)


def test_a_host_that_is_away_is_told_to_the_caller(cell):
    uuid = cell.instance()
    cell.agents.answers['get_diagnostics'] = exceptions.ComputeServiceUnavailable(host='h1')
    with pytest.raises(exceptions.ComputeServiceUnavailable):
        cell.call('get_diagnostics', uuid)


# -- orders that somebody waits for --


def after(seconds, function, *args, **kwargs):
    timer = threading.Timer(seconds, function, args, kwargs)
    timer.daemon = True
    timer.start()
    return timer


def test_s8_who_waits_for_a_stop_is_answered_when_it_is_stopped(cell):
    uuid = cell.instance()
    found = later(cell, cell.send, 'stop_instance', uuid, answered=True, clean_shutdown=True)
    assert isinstance(found, dispatch.Later)
    assert cell.states(uuid) == ('active', 'powering-off')
    begun = time.monotonic()
    timer = after(0.3, cell.end, uuid, 'stop', power_state=4)
    assert found.answer() is None
    assert time.monotonic() - begun >= 0.2
    assert cell.states(uuid) == ('stopped', None)
    timer.join(5)


def test_who_waits_for_a_stop_that_fails_gets_the_error(cell):
    uuid = cell.instance()
    found = later(cell, cell.send, 'stop_instance', uuid, answered=True)
    cell.end(uuid, error=('InstanceNotFound', 'Instance x could not be found.'), power_state=1)
    with pytest.raises(exceptions.InstanceNotFound, match='Instance x could not be found'):
        found.answer()
    assert cell.states(uuid) == ('active', None)


def test_who_waits_for_a_stop_that_is_cancelled_gets_an_error(cell):
    uuid = cell.instance()
    found = later(cell, cell.send, 'stop_instance', uuid, answered=True)
    cell.send('terminate_instance', uuid)
    with pytest.raises(exceptions.ComputeServiceUnavailable, match='stop'):
        found.answer()


def test_t4_nobody_waits_longer_than_the_message_allows(cell, monkeypatch):
    uuid = cell.instance()
    sent = time.time()
    extension = Extension(version=1, sent_at=sent, budget_ms=2000)
    original = cell.message

    def with_deadline(*args):
        return dataclasses.replace(original(*args), extension=extension)

    monkeypatch.setattr(cell, 'message', with_deadline)
    found = later(cell, cell.send, 'stop_instance', uuid, answered=True)
    with pytest.raises(exceptions.CellTimeout, match='goes on'):
        found.answer()
    assert 1.0 <= time.time() - sent <= 20
    cell.end(uuid, 'stop', power_state=4)
    assert cell.states(uuid) == ('stopped', None)


def test_a_stop_that_nobody_waits_for_answers_at_once(cell):
    uuid = cell.instance()
    assert later(cell, cell.send, 'stop_instance', uuid, answered=False) is None


@pytest.mark.parametrize(('port', 'wanted'), [(None, OTHER_VIF), ('port-2', OTHER_VIF)])
def test_who_attaches_an_interface_gets_it(cell, port, wanted):
    uuid = cell.instance()
    cell.call('add_fixed_ip', uuid, 'n', answered=False)
    cell.end(uuid, network_info=[VIF])
    found = later(cell, cell.call, 'attach_interface', uuid, 'n', port, None)
    cell.end(uuid, 'attach_interface', network_info=[VIF, OTHER_VIF])
    assert found.answer() == wanted


def test_an_order_that_is_not_there_is_waited_for_no_longer_than_the_rest(cell):
    with pytest.raises(exceptions.CellTimeout):
        orders.wait(cell.database, 'nosuch.0', 0.1)
