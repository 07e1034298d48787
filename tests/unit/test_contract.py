"""CellsAPI and CellsManager against the facts in ``tests/contract``, and against each other.

Where a recorded release is wrong and ours is not, a table or a function here says so.
"""

import copy
import datetime
import inspect
import json
import pathlib

import oslo_messaging
import pytest
from oslo_config import cfg

from cells import context, manager, rpc, rpcapi, versions
from cells.objects import base as objects_base

TESTS = pathlib.Path(__file__).parents[1]

UUID = '11111111-1111-4111-8111-111111111111'


def facts(name):
    return json.loads((TESTS / name).read_text(encoding='utf-8'))


CLIENT = facts('contract/rpc_client.json')['methods']
SERVER = facts('contract/rpc_server.json')['methods']

#: Method -> the version that it is sent at below its lowest in the facts: what clients of
#: that time sent, and those that were recorded cannot (``golden/README.md``).
SENT_BELOW = {
    'instance_destroy_at_top': '1.0',
    'instance_info_cache_update_at_top': '1.0',
    'instance_update_at_top': '1.0',
}
#: Arguments that the facts ask for and that may be left out here: later clients do so.
MAY_BE_LEFT_OUT = {
    ('get_capacities', 'cell_name'),
    ('proxy_rpc_to_manager', 'timeout'),
}

#: Values for the arguments of client methods, by their names; others get a text.
SAMPLES = {
    'action_id': 5,
    'call': True,
    'ctxt': context.RequestContext('u1', 'p1'),
    'deleted': True,
    'filters': {'status': 'finished'},
    'instance': {'uuid': 'u', 'cell_name': 'api!leaf'},
    'instance_info_cache': {'instance_uuid': 'u', 'network_info': '[]'},
    'params_to_update': {'disabled': True},
    'timeout': 7,
    'rpc_message': {'method': 'x', 'args': {}},
    'topic': 'compute.api!leaf@h1',
    'values': {'name': 'c'},
}
SAMPLES['context'] = SAMPLES['ctxt']


class Recorder:
    """Stands where the transport of oslo.messaging does, and keeps what is given to it."""

    def __init__(self):
        self.conf = cfg.ConfigOpts()
        rpc.prepare(self.conf)
        self.conf([], project='cells', default_config_files=[])
        self.sent = []
        self._driver = None

    def _require_driver_features(self, **features):
        pass

    def _send(self, target, ctxt, message, wait_for_reply=None, **options):
        assert target.topic == 'cells'
        self.sent.append((dict(message), bool(wait_for_reply)))
        return 'answer' if wait_for_reply else None


@pytest.fixture
def recorder():
    return Recorder()


def methods_of(cls):
    return {name for name in dir(cls) if not name.startswith('_')}


def have(names, cls):
    return sorted(names & methods_of(cls))


def parameters(function):
    """Return name, default and kind of what a method takes beside itself and the context."""
    found = list(inspect.signature(function).parameters.values())
    found = found[1:] if found[0].name == 'self' else found
    return [(one.name, one.default, one.kind) for one in found[1:]]


def from_text(signature):
    """Return what :func:`parameters` does for a signature in the facts."""
    names = {}
    exec('def method%s: pass' % signature[signature.index('(') :], names)
    return parameters(names['method'])


def arguments_for(name):
    """Return arguments for a client method."""
    signature = inspect.signature(getattr(rpcapi.CellsAPI, name))
    args, kwargs = [], {}
    for one in list(signature.parameters.values())[1:]:
        if one.kind is one.VAR_POSITIONAL:
            args += ['first', 2]
        elif one.kind is one.VAR_KEYWORD:
            kwargs['more'] = {'a': 1}
        else:
            args.append(SAMPLES.get(one.name, 'some-' + one.name))
    return args, kwargs


HERE = have(set(CLIENT), rpcapi.CellsAPI)
SERVED = have(set(SERVER), manager.CellsManager)


def send(recorder, name):
    """Call a method of the client with some arguments; return what was sent and how."""
    api = rpcapi.CellsAPI(recorder)
    args, kwargs = arguments_for(name)
    getattr(api, name)(*args, **kwargs)
    [(message, waits)] = recorder.sent
    return message, waits


# -- what there is --


def test_the_client_has_all_methods():
    assert set(CLIENT) - methods_of(rpcapi.CellsAPI) == set()


def test_the_server_has_all_methods():
    assert set(SERVER) - methods_of(manager.CellsManager) == set()


def test_the_client_offers_nothing_that_is_not_in_the_contract():
    assert methods_of(rpcapi.CellsAPI) - set(CLIENT) == {'close', 'from_conf'}


def test_the_server_offers_to_the_wire_what_is_in_the_contract_and_nothing_else():
    policy = oslo_messaging.ExplicitRPCAccessPolicy()
    exposed = {
        name
        for name in methods_of(manager.CellsManager)
        if callable(getattr(manager.CellsManager, name))
        and policy.is_allowed(manager.CellsManager, name)
    }
    assert exposed == set(SERVED)


# -- the client --


@pytest.mark.parametrize('name', HERE)
def test_a_client_method_is_called_as_in_the_contract(name):
    assert parameters(getattr(rpcapi.CellsAPI, name)) == from_text(CLIENT[name]['signature'])


@pytest.mark.parametrize('name', HERE)
def test_a_client_method_sends_what_is_in_the_contract(recorder, name):
    fact = CLIENT[name]
    message, waits = send(recorder, name)
    assert message['method'] == fact['rpc_method']
    assert message['version'] == fact['version_at_highest_cap']
    assert set(message['args']) == set(fact['wire_args'])
    assert waits == (fact['kind'].split()[0] == 'call')
    json.dumps(message)


@pytest.mark.parametrize('name', HERE)
def test_a_client_under_a_cap_sends_what_is_in_the_contract_or_nothing(name):
    for record in CLIENT[name]['recorded_by_cap']:
        for cap in {record['cap_from'], record['cap_to']} & versions.RPC_HISTORY.keys():
            recorder = Recorder()
            args, kwargs = arguments_for(name)
            method = getattr(rpcapi.CellsAPI(recorder, version_cap=cap), name)
            version = record.get('sent_version')
            if version is None and name in SENT_BELOW:
                version = cap if cap == '1.34' else SENT_BELOW[name]
                record = {**record, 'arg_names': ['instance']}
            if version is None:
                if 'swallowed' in record['result']:
                    method(*args, **kwargs)
                else:
                    with pytest.raises(oslo_messaging.RPCVersionCapError):
                        method(*args, **kwargs)
                assert recorder.sent == []
                continue
            method(*args, **kwargs)
            [(message, _)] = recorder.sent
            assert message['version'] == version
            assert sorted(message['args']) == record['arg_names']


def read(value):
    """Return a recorded argument, with its objects and times."""
    if isinstance(value, list):
        return [read(item) for item in value]
    if objects_base.is_envelope(value):
        return objects_base.from_primitive(value)
    if isinstance(value, dict):
        if value.keys() == {'datetime'}:
            return datetime.datetime.fromisoformat(value['datetime'])
        return {key: read(item) for key, item in value.items()}
    return value


def test_without_cells_what_needs_none_is_answered_by_the_client(recorder):
    api = rpcapi.CellsAPI(recorder, enabled=False)
    assert api.get_keypair_at_top(SAMPLES['ctxt'], 'u', 'k') is None
    assert api.get_cell_info_for_neighbors(SAMPLES['ctxt']) == []
    assert recorder.sent == []


CALLS = facts('golden/calls.json')
RECORDED = {cap: facts('golden/client-ocata-%s.json' % cap) for cap in ('none', 'kilo', 'havana')}


def comparable(value):
    """Return a message with the changes of its objects as sets.

    nova's recorder counted the two kinds of metadata of an object that had come over the
    wire as changed, which they were not. What a client makes itself has our version.
    """
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: comparable(item) for key, item in value.items()}
    if found.get('nova_object.name') == 'Instance':
        found['nova_object.changes'] = set(found['nova_object.changes']) - {
            'metadata',
            'system_metadata',
        }
        if found['nova_object.data'].keys() == {'uuid', 'info_cache'}:
            del found['nova_object.version']
    return found


@pytest.mark.parametrize('cap', RECORDED)
@pytest.mark.parametrize('index', range(len(CALLS)), ids=lambda index: CALLS[index]['method'])
def test_a_client_sends_what_novas_client_sent(index, cap):
    call, recorded = CALLS[index], RECORDED[cap][index]
    name = call['method']
    assert name == recorded['method']
    given = read({'args': call['args'], 'kwargs': call['kwargs']})
    kept = copy.deepcopy(given)
    recorder = Recorder()
    api = rpcapi.CellsAPI(recorder, version_cap=None if cap == 'none' else cap)
    method = getattr(api, name)
    if recorded.get('raises') and name not in SENT_BELOW:
        with pytest.raises(getattr(oslo_messaging, recorded['raises'])):
            method(SAMPLES['ctxt'], *given['args'], **given['kwargs'])
        assert recorder.sent == []
        return
    method(SAMPLES['ctxt'], *given['args'], **given['kwargs'])
    assert objects_base.to_primitive(given) == objects_base.to_primitive(kept)
    [(message, waits)] = recorder.sent
    # By this a server knows two attempts at a cast as one.
    message.pop('_unique_id', None)
    if recorded.get('raises'):
        # As a client of that time sent it.
        assert message['version'] == {'kilo': '1.34', 'havana': '1.0'}[cap]
        assert 'nova_object.name' not in json.dumps(message)
        assert message['args']['instance']['uuid'] == UUID
        return
    [sent] = recorded['sent']
    assert comparable(message) == comparable(sent['message'])
    assert waits == sent['wait']


# -- the server --


@pytest.mark.parametrize('name', SERVED)
def test_a_server_method_takes_what_is_in_the_contract(name):
    ours = parameters(getattr(manager.CellsManager, name))
    theirs = from_text(SERVER[name]['signature'])
    assert [one[0] for one in ours] == [one[0] for one in theirs]
    for (argument, ours_default, _), (_, default, _) in zip(ours, theirs, strict=True):
        if (name, argument) in MAY_BE_LEFT_OUT:
            continue
        assert ours_default == default, argument


# -- one against the other --


def numbers(version):
    return tuple(int(part) for part in version.split('.'))


@pytest.mark.parametrize('name', HERE)
def test_v4_no_client_method_exceeds_the_version_that_the_server_declares(recorder, name):
    declared = manager.CellsManager.target.version
    assert declared == versions.SERVED_VERSION
    message, _ = send(recorder, name)
    major, minor = numbers(message['version'])
    assert major == numbers(declared)[0]
    assert minor <= numbers(declared)[1]
    assert message['version'] in versions.RPC_HISTORY


@pytest.mark.parametrize('name', HERE)
def test_v4_every_client_method_has_a_server_method_that_takes_its_arguments(recorder, name):
    message, _ = send(recorder, name)
    served = getattr(manager.CellsManager, message['method'])
    inspect.signature(served).bind(object(), SAMPLES['ctxt'], **message['args'])
