"""Every method at every cap: what is sent fits the rules of that version, or nothing is sent.

The rules are those of ``tests/contract``: versions and arguments of ``rpc_client.json``,
which arguments are objects since when of ``rpc_server.json``, objects of ``objects.json``.
"""

import ast
import inspect
import json
import logging
import pathlib
import re

import oslo_messaging
import pytest
from oslo_config import cfg

from cells import client, manager, remote_errors, rpcapi, versions
from cells.client import contract, forms
from cells.objects import (
    base,
    block_device,
    device,
    flavor,
    instance,
    keypair,
    network,
    plain,
    tag,
)
from tests.unit.test_contract import (
    CLIENT,
    HERE,
    SAMPLES,
    SENT_BELOW,
    SERVER,
    Recorder,
    arguments_for,
    facts,
    from_text,
)
from tests.unit.test_objects_plain import MOMENT, UUID

OBJECTS = facts('contract/objects.json')['objects']
CAPS = list(versions.RPC_HISTORY)
CTXT = SAMPLES['ctxt']
PORT = '22222222-2222-4222-8222-222222222222'


def one_instance():
    """An Instance of ours with something of every age."""
    return instance.Instance(
        uuid=UUID,
        id=7,
        cell_name='api!leaf',
        created_at=MOMENT,
        metadata={'a': 'b'},
        system_metadata={'c': None},
        memory_mb=64,
        flavor=flavor.Flavor(flavorid='2', memory_mb=64, description='small'),
        info_cache=instance.InstanceInfoCache(instance_uuid=UUID, network_info=[{'id': 'vif'}]),
        tags=tag.TagList(objects=[tag.Tag(resource_id=UUID, tag='x')]),
        keypairs=keypair.KeyPairList(objects=[keypair.KeyPair(name='k', user_id='u1')]),
        device_metadata=device.InstanceDeviceMetadata(devices=[]),
        trusted_certs=instance.TrustedCerts(ids=['t']),
    )


def one_device():
    return block_device.BlockDeviceMapping(
        instance_uuid=UUID, volume_id='v', boot_index=0, tag='disk', uuid=PORT
    )


def build_kwargs():
    return {
        'instances': [one_instance()],
        'image': {'id': 'i'},
        'filter_properties': {'instance_type': one_instance().flavor, 'scheduler_hints': {}},
        'admin_password': 'pw',
        'injected_files': [],
        'requested_networks': network.NetworkRequestList(
            objects=[network.NetworkRequest(network_id='n', port_id=PORT, tag='nic')]
        ),
        'security_groups': ['default'],
        'block_device_mapping': block_device.BlockDeviceMappingList(objects=[one_device()]),
        'legacy_bdm': False,
    }


#: Methods whose arguments are objects, by the name of the argument.
OURS = {
    'bdm': one_device,
    'flavor': lambda: one_instance().flavor,
    'instance': one_instance,
    'instance_fault': lambda: instance.InstanceFault(instance_uuid=UUID, code=500, message='no'),
    'instance_info_cache': lambda: one_instance().info_cache,
}


def call(api, name):
    """Call a method with objects of ours."""
    if name == 'build_instances':
        return api.build_instances(CTXT, **build_kwargs())
    given, kwargs = arguments_for(name)
    names = list(inspect.signature(getattr(rpcapi.CellsAPI, name)).parameters)[1:]
    made = [OURS[key]() if key in OURS else one for key, one in zip(names, given, strict=False)]
    return getattr(api, name)(*made, *given[len(made) :], **kwargs)


def sent_under(cap, name):
    """Return what a method sends under a cap."""
    recorder = Recorder()
    call(rpcapi.CellsAPI(recorder, version_cap=cap), name)
    [(message, _)] = recorder.sent
    return message


def minor(version):
    return int(version.partition('.')[2])


def recorded(name, cap):
    """Return what the facts say of a method under a cap."""
    for record in CLIENT[name]['recorded_by_cap']:
        last = 99 if record['cap_to'] == 'uncapped' else minor(record['cap_to'])
        if minor(record['cap_from']) <= minor(cap) <= last:
            return record
    raise AssertionError('%s is not recorded at %s' % (name, cap))


def envelopes(value):
    if isinstance(value, dict):
        if base.is_envelope(value):
            yield value
        for item in value.values():
            yield from envelopes(item)
    elif isinstance(value, list):
        for item in value:
            yield from envelopes(item)


def numbers(version):
    return tuple(int(part) for part in version.split('.'))


def check_objects(message, release):
    """Check that a release can read every object in a message."""
    for envelope in envelopes(message):
        name, version = envelope['nova_object.name'], envelope['nova_object.version']
        assert release in OBJECTS[name]['versions'], '%s has no %s' % (release, name)
        known = OBJECTS[name]['versions'][release].split(' and ')
        assert version in known, '%s of %s, not %s' % (name, release, version)
        fields = {
            **(OBJECTS[name].get('fields_mitaka') or {}),
            **(OBJECTS[name].get('fields_rocky') or {}),
        }
        for field in {*envelope['nova_object.data'], *envelope.get('nova_object.changes', ())}:
            assert numbers(fields[field]['since']) <= numbers(version), (name, version, field)


def check_arguments(message):
    """Check the arguments of a message against the history of its method on the server."""
    fact = SERVER[message['method']]
    for entry in fact['argument_versions']:
        since, _, what = entry.partition(' ')
        if minor(message['version']) >= minor(since) or not what:
            continue
        found = {one['nova_object.name'] for one in envelopes(message['args'])}
        for name in re.findall(r'\b(Flavor|Instance|BlockDeviceMapping) objects?', what):
            assert not found & {name, name + 'List'}
        if what == 'object':
            # But for one that nova's own clients leave there.
            assert found <= {'InstanceInfoCache'}
        if what in {one[0] for one in from_text(fact['signature'])}:
            assert what not in message['args']
    served = getattr(manager.CellsManager, message['method'])
    inspect.signature(served).bind(object(), CTXT, **message['args'])


@pytest.mark.parametrize('name', HERE)
def test_v4_what_is_sent_under_each_cap_fits_the_rules_of_that_version(name, caplog):
    caplog.set_level(logging.CRITICAL)
    for cap in CAPS:
        record = recorded(name, cap)
        version = record.get('sent_version')
        if version is None and name in SENT_BELOW:
            version = cap if cap == '1.34' else SENT_BELOW[name]
            record = {**record, 'arg_names': ['instance']}
        recorder = Recorder()
        api = rpcapi.CellsAPI(recorder, version_cap=cap)
        if version is None:
            if 'swallowed' in record['result']:
                call(api, name)
            else:
                with pytest.raises(oslo_messaging.RPCVersionCapError):
                    call(api, name)
            assert recorder.sent == []
            continue
        call(api, name)
        [(message, _)] = recorder.sent
        message = json.loads(json.dumps(message))
        assert (message['method'], message['version']) == (CLIENT[name]['rpc_method'], version)
        assert minor(version) <= minor(cap)
        assert sorted(message['args']) == record['arg_names']
        check_arguments(message)
        check_objects(message, versions.cap_release(cap))


@pytest.mark.parametrize('name', HERE)
def test_under_a_later_release_objects_are_as_that_one_has_them(name):
    for release in list(versions.OBJECT_VERSIONS)[list(versions.OBJECT_VERSIONS).index('mitaka') :]:
        message = sent_under(release, name)
        assert message['version'] == CLIENT[name]['version_at_highest_cap']
        for envelope in envelopes(message):
            known = OBJECTS[envelope['nova_object.name']]['versions'][release]
            assert numbers(envelope['nova_object.version']) <= numbers(known)


def test_without_a_cap_objects_are_whole():
    made = sent_under(None, 'start_instance')['args']['instance']
    assert made == json.loads(json.dumps(base.to_primitive(one_instance())))


def test_an_object_that_came_with_a_version_of_its_own_goes_on_as_it_came():
    envelope = base.to_primitive(one_instance(), 'ocata')
    assert envelope['nova_object.version'] == '2.3'
    recorder = Recorder()
    api = rpcapi.CellsAPI(recorder, version_cap='kilo')
    api.start_instance(CTXT, base.from_primitive(envelope))
    [(message, _)] = recorder.sent
    assert message['args']['instance'] == envelope


def test_objects_deep_in_arguments_are_made_compatible():
    recorder = Recorder()
    api = rpcapi.CellsAPI(recorder, version_cap='juno')
    api.call_compute_api_method(CTXT, 'api!leaf', 'rebuild', UUID, [{'a': one_instance()}])
    [(message, _)] = recorder.sent
    [first] = list(envelopes(message))[:1]
    assert first['nova_object.version'] == '1.15'
    check_objects(message, 'juno')


def test_what_a_release_has_no_class_for_is_an_error_that_names_both():
    recorder = Recorder()
    api = rpcapi.CellsAPI(recorder, version_cap='icehouse')
    with pytest.raises(ValueError, match='TrustedCerts does not exist in icehouse'):
        api.call_compute_api_method(CTXT, 'api!leaf', 'x', UUID, instance.TrustedCerts(ids=[]))
    assert recorder.sent == []


def test_networks_go_to_cells_before_1_30_as_lists():
    wanted = sent_under('1.29', 'build_instances')['args']['build_inst_kwargs']
    assert wanted['requested_networks'] == [['n', None, PORT]]
    wanted = sent_under('1.30', 'build_instances')['args']['build_inst_kwargs']
    assert base.is_envelope(wanted['requested_networks'])


# -- errors --


@pytest.mark.parametrize(
    ('cap', 'name', 'needed', 'allowed'),
    [
        ('1.0', 'start_instance', '1.12', '1.0'),
        ('Havana', 'set_admin_password', '1.29', '1.24'),
        ('grizzly', 'build_instances', '1.8', '1.6'),
        ('1.11', 'stop_instance', '1.12', '1.11'),
        ('kilo', 'get_keypair_at_top', '1.37', '1.34'),
        ('1.1', 'proxy_rpc_to_manager', '1.2', '1.1'),
    ],
)
def test_a_cap_that_forbids_a_method_is_named_with_it(cap, name, needed, allowed):
    recorder = Recorder()
    with pytest.raises(contract.VersionCapError) as caught:
        call(rpcapi.CellsAPI(recorder, version_cap=cap), name)
    assert recorder.sent == []
    assert isinstance(caught.value, oslo_messaging.RPCVersionCapError)
    assert (caught.value.method, caught.value.version, caught.value.version_cap) == (
        name,
        needed,
        allowed,
    )
    assert str(caught.value) == (
        '%s needs version %s of the cells RPC, and [upgrade_levels] cells = %s allows no more '
        'than %s; nothing was sent' % (name, needed, cap, allowed)
    )


def test_a_report_that_a_cap_forbids_is_logged_with_the_reason(caplog):
    recorder = Recorder()
    rpcapi.CellsAPI(recorder, version_cap='1.9').bdm_destroy_at_top(CTXT, UUID, volume_id='v')
    assert recorder.sent == []
    [line] = [one.getMessage() for one in caplog.records if one.levelname == 'ERROR']
    assert 'bdm_destroy_at_top needs version 1.10' in line


class OlderCell(Recorder):
    """Stands for a cell that does not know the version of what is sent."""

    def _send(self, *args, **options):
        raise oslo_messaging.RemoteError('UnsupportedVersion', 'no version 1.37 of it here')


@pytest.mark.parametrize(('cap', 'shown'), [(None, 'unset'), ('liberty', 'liberty')])
def test_v2_a_cell_that_is_older_than_the_cap_says_is_told_of_with_the_setting(cap, shown):
    api = rpcapi.CellsAPI(OlderCell(), version_cap=cap)
    with pytest.raises(remote_errors.NotServed) as caught:
        call(api, 'get_keypair_at_top')
    text = str(caught.value)
    assert 'no version 1.37 of it here' in text
    assert '[upgrade_levels] cells = %s;' % shown in text


@pytest.mark.parametrize('cap', ['folsom', '1.38', '2.0', 'latest', ''])
def test_a_cap_that_is_none_is_refused_when_the_client_is_made(cap):
    with pytest.raises(ValueError, match=r'\[upgrade_levels\] cells = .*grizzly.*1\.0 to 1\.37'):
        rpcapi.CellsAPI(Recorder(), version_cap=cap)


def test_a_cap_in_a_file_that_is_none_is_refused_with_the_file(workdir):
    path = workdir / 'cells.conf'
    path.write_text('[upgrade_levels]\ncells = Folsom\n')
    conf = cfg.ConfigOpts()
    conf(['--config-file', str(path)], project='cells')
    with pytest.raises(ValueError, match=r"cells\.conf.* = 'Folsom' is neither a release \(griz"):
        rpcapi.CellsAPI.from_conf(conf)
    path.write_text('[upgrade_levels]\ncells = Havana\n')
    conf.reload_config_files()
    assert conf.upgrade_levels.cells == 'Havana'


# -- the table --


def test_v5_every_method_of_the_contract_has_its_forms_and_no_other_has():
    assert forms.FORMS.keys() == {fact['rpc_method'] for fact in CLIENT.values()}
    assert forms.FORMS.keys() == SERVER.keys()


@pytest.mark.parametrize('name', forms.FORMS)
def test_the_forms_of_a_method_are_of_its_versions_newest_first(name):
    found = [minor(form.version) for form in forms.FORMS[name]]
    assert found == sorted(set(found), reverse=True)
    assert {form.version for form in forms.FORMS[name]} <= versions.RPC_HISTORY.keys()
    assert forms.FORMS[name][-1].version == SERVER[name]['since_version']
    assert [bool(form.change) for form in forms.FORMS[name]] == [False] + [True] * (len(found) - 1)


def test_every_version_brought_what_its_line_in_the_history_says():
    for name, known in forms.FORMS.items():
        for form in known[:-1]:
            text = versions.RPC_HISTORY[form.version]
            assert name in text or form.version in ('1.34', '1.35'), text
        if minor(known[-1].version):
            assert name in versions.RPC_HISTORY[known[-1].version]


def test_no_method_of_the_client_knows_a_version():
    """Which version a method is sent at is said once, in the table."""
    directory = pathlib.Path(client.__file__).parent
    checked = 0
    for path in directory.glob('*.py'):
        if path.stem == 'forms':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                checked += 1
                assert not re.fullmatch(r'\d+\.\d+', node.value), path.stem
    assert checked > 100


@pytest.mark.parametrize('name', [name for name, known in forms.FORMS.items() if len(known) > 1])
def test_making_an_older_form_changes_nothing_that_was_given(name):
    for client_name in (one for one in HERE if CLIENT[one]['rpc_method'] == name):
        recorder = Recorder()
        api = rpcapi.CellsAPI(recorder)
        kept = []
        api._cast = lambda ctxt, version, method, kept=kept, **given: kept.append(given)
        call(api, client_name)
        [arguments] = kept
        before = plain.flatten(arguments)
        for form in forms.FORMS[name]:
            form.make(arguments)
        assert plain.flatten(arguments) == before
