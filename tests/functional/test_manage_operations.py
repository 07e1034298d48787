"""nova-cells-manage on instances, drift, journals and requests: real daemons over RabbitMQ.

Three levels, one worker each, an agent with fake machines in each of two cells at the bottom.
At the end the daemons go one after the other, and what works without them is looked at.
"""

import contextlib
import datetime
import io
import json
import logging
import os
import pty
import shutil
import subprocess
import threading

import pytest
import sqlalchemy as sa

from cells import context, rpcapi, wire
from cells.cmd.manage import app
from cells.db import inbox, instances, journal, models
from cells.objects.flavor import Flavor
from tests import deploy, deploy_hosts
from tests.conftest import open_directory
from tests.functional.test_journal_entries import order
from tests.world import admin, new_instance

CELLS = {'api': None, 'mid': 'api', 'leaf': 'mid', 'leaf2': 'mid'}
LEAVES = ('leaf', 'leaf2')
OLD = datetime.datetime(2016, 1, 1)
SMALL = Flavor(
    id=1, name='small', flavorid='1', memory_mb=512, root_gb=1, vcpus=1, ephemeral_gb=0, swap=0
)
#: Passwords of the instance, of the message buses, and of an order that lies in a journal.
SECRETS = ('geheim-of-instance', 'geheim-of-order')
AGENT = """\
[compute]
virt_driver = fake
fake_memory_mb = %(memory_mb)d
fake_local_gb = 1000
fake_vcpus = 32
fake_delays = *:0
"""
NOBODY = '99999999-9999-4999-8999-999999999999'


def manage(conf_file, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, in this process: to start one takes longer than most take."""
    out, err = io.StringIO(), io.StringIO()
    handlers = logging.getLogger().handlers[:]
    program = app.ManageApp()
    program.stdout, program.stderr = out, err
    argv = ['--config-file', str(conf_file), *arguments]
    try:
        code = program.run(argv)
    finally:
        logging.getLogger().handlers[:] = handlers
    assert 'Traceback' not in err.getvalue(), err.getvalue()
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


class Deployed:
    """The tree, an instance in it, and what the commands said."""

    def __init__(self, tree) -> None:
        self.tree = tree
        self.said: list[str] = []
        self.uuid = ''
        self.request_id = ''

    def run(self, cell: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a cell."""
        ran = manage(self.tree[cell].conf_file, *arguments)
        self.said.append(ran.stdout + ran.stderr)
        return ran

    def json(self, cell: str, *arguments: str, code: int = 0):
        """Run a command and return its output, read as JSON."""
        ran = self.run(cell, *arguments, '-f', 'json')
        assert ran.returncode == code, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def refused(self, cell: str, *arguments: str) -> str:
        """Run a command that fails, and return the one line that it says."""
        ran = self.run(cell, *arguments)
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
        return ran.stderr


@pytest.fixture(scope='module')
def cloud(rabbit):
    directory = open_directory()
    tree = deploy.Tree(
        directory / 'tree',
        rabbit,
        deploy.sqlite(directory),
        CELLS,
        workers=1,
        prefix='manage_ops_',
        options='call_timeout = 30\nreceipt_timeout = 2\nheal_round_interval = 5\n'
        'heal_page_interval = 0.1\n',
    )
    agents = [
        deploy_hosts.Agent(
            directory / leaf,
            'host-' + leaf,
            tree[leaf].transport_url,
            # The first has no room for what is built.
            options=AGENT % {'memory_mb': 64 if leaf == 'leaf' else 65536},
        )
        for leaf in LEAVES
    ]
    found = Deployed(tree)
    try:
        with tree.running():
            for agent in agents:
                agent.start(wait=False)
            build(found)
            yield found
    finally:
        for agent in agents:
            agent.end()
        shutil.rmtree(directory, ignore_errors=True)


def room(api, child: str) -> int:
    return api.get_capacities(admin(), child).get('ram_free', {}).get('total_mb', 0)


def build(cloud) -> None:
    """Have an instance built, under a request id that is kept, and wait until it is active."""
    api = cloud.tree.api('api')
    records = rpcapi.InstancesAPI.from_conf(cloud.tree.conf('api'))
    try:
        mid = cloud.tree.api('mid')
        deploy.wait_until(
            lambda: room(api, 'mid') > 30000 and room(mid, 'leaf') and room(mid, 'leaf2'),
            60,
            'it is known how much room there is',
        )
        ctxt, one = admin(), new_instance('web', SMALL)
        records.create(ctxt, [one])
        api.build_instances(
            ctxt,
            instances=[one],
            image={},
            filter_properties={'instance_type': SMALL, 'scheduler_hints': {}},
            admin_password=SECRETS[0],
            injected_files=[],
            requested_networks=None,
            security_groups=['default'],
            block_device_mapping=[],
        )
        deploy.wait_until(
            lambda: records.get(admin(), one.uuid).vm_state == 'active', 60, 'it is active'
        )
        cloud.uuid, cloud.request_id = one.uuid, ctxt.request_id
    finally:
        records.close()


# -- instances --


def test_instances_are_listed_from_the_database_of_a_cell(cloud):
    [row] = cloud.json('api', 'instance', 'list', '--cell', 'api!mid', '--state', 'active')
    assert (row['UUID'], row['Name'], row['Cell']) == (cloud.uuid, 'web', 'api!mid!leaf2')
    assert cloud.json('leaf2', 'instance', 'list', '--task', 'none')[0]['Host'] == 'host-leaf2'
    assert cloud.json('leaf', 'instance', 'list') == []
    table = cloud.run('api', 'instance', 'list', '--name', 'WE')
    assert 'None' not in table.stdout
    for arguments, reason in (
        (['--limit', '0'], '--limit is 0, not from 1 to'),
        (['--marker', NOBODY], 'of which there is no record'),
        (['--cell', 'api!!x'], 'not empty'),
        (['--cell', 'api!nowhere!leaf2'], 'no neighbour nowhere; there is mid'),
        (['--cell', 'aip'], 'no neighbour aip; there is mid'),
    ):
        assert reason in cloud.refused('api', 'instance', 'list', *arguments)
    assert cloud.json('api', 'instance', 'list', '--cell', 'api!mid!leaf') == []
    assert cloud.json('leaf', 'instance', 'list', '--cell', 'api!mid') == []
    with pytest.raises(SystemExit, match='2'):
        cloud.run('api', 'instance', 'list', '--state', 'activ')


def test_an_instance_is_shown_with_what_was_done_and_without_what_is_secret(cloud):
    found = cloud.json('leaf2', 'instance', 'show', cloud.uuid)
    assert (found['vm_state'], found['host'], found['deleted']) == ('active', 'host-leaf2', False)
    assert [one['action'] for one in found['actions']] == ['create']
    assert found['actions'][0]['request'] == cloud.request_id
    assert found['faults'] == []
    assert not {'user_data', 'system_metadata', 'key_data'} & found.keys()
    assert 'instance locate' in cloud.refused('leaf', 'instance', 'show', cloud.uuid)


def test_an_instance_is_located_and_what_does_not_fit_is_said(cloud):
    rows = cloud.json('api', 'instance', 'locate', cloud.uuid)
    assert [(row['Cell'], row['What']) for row in rows] == [
        ('api', 'record, of api!mid!leaf2'),
        ('api!mid!leaf2', 'instance'),
    ]
    assert 'No cell that answered knows' in cloud.refused('api', 'instance', 'locate', NOBODY)
    assert 'cannot be one' in cloud.refused('api', 'instance', 'locate', 'x' * 40)
    database = cloud.tree['leaf'].database()
    with database.write() as connection:
        instances.instance_create(connection, {'uuid': cloud.uuid, 'vm_state': 'active'})
    twice = cloud.run('api', 'instance', 'locate', cloud.uuid)
    with database.write() as connection:
        connection.execute(sa.delete(models.Instance))
    database.dispose()
    assert twice.returncode == 3
    assert 'It is in several cells: api!mid!leaf, api!mid!leaf2' in twice.stderr


def test_why_an_instance_is_where_it_is_is_explained_after_it_was_built(cloud):
    # The host says that it is there before the cells have told each other.
    rows = deploy.wait_until(
        lambda: [
            rows
            for rows in [cloud.json('api', 'instance', 'explain', cloud.uuid)]
            if rows[0]['Verdict'] == 'built'
        ],
        60,
        'its build is over',
    )[0]
    first = rows[0]
    assert (first['Chosen in'], first['Cell'], first['Verdict']) == ('api', 'mid', 'built')
    assert {'mute_child', 'ram_by_instance_type', 'weight_offset'} == set(first['Weighers'])
    verdicts = {(row['Chosen in'], row['Cell']): row for row in rows}
    out = verdicts['api!mid', 'leaf']
    assert out['Verdict'] == 'out of the question'
    assert out['Reason'].startswith('capacity: no room')
    assert verdicts['api!mid', 'leaf2']['Verdict'] == 'built'
    assert verdicts['api!mid!leaf2', 'leaf2']['Verdict'] == 'built'
    assert 'within the last day' in cloud.refused('api', 'instance', 'explain', NOBODY)
    [own] = cloud.json('leaf2', 'instance', 'explain', '--local', cloud.uuid)
    assert own['Chosen in'] == 'leaf2'


# -- what differs --


def settle(cloud) -> None:
    """Let nothing count as having just changed."""
    for name in ('api', 'leaf2'):
        change(cloud, name, sa.update(models.Instance).values(updated_at=OLD))


def change(cloud, name: str, *statements) -> None:
    database = cloud.tree[name].database()
    with database.write() as connection:
        for statement in statements:
            connection.execute(statement)
    database.dispose()


def test_o9_what_differs_now_is_found_named_and_repaired_by_a_sync(cloud):
    settle(cloud)
    by_cell = {row['Cell']: row for row in cloud.json('api', 'drift')}
    assert set(by_cell) == {'api', 'api!mid', 'api!mid!leaf', 'api!mid!leaf2'}
    row = by_cell['api!mid!leaf2']
    assert (row['Instances'], row['Records'], row['Differ'], row['Odd']) == (1, 1, 0, 0)
    assert row['Waiting'] == 0
    # Nothing heals meanwhile: the top forgets, behind everybody's back.
    mine = models.Instance.uuid == cloud.uuid
    for number in range(3):
        settle(cloud)
        change(cloud, 'api', sa.update(models.Instance).where(mine).values(memory_mb=number))
        found = json.loads(cloud.run('api', 'drift', '--instances', '-f', 'json').stdout)
        if found:
            break
    assert [(one['Instance'], one['Cell'], one['Difference']) for one in found] == [
        (cloud.uuid, 'api!mid!leaf2', 'the record differs')
    ]
    rows = cloud.json('api', 'instance', 'sync', '--project', 'p1')
    assert {row['Cell']: row['State'] for row in rows} == {
        'api!mid': 'done',
        'api!mid!leaf': 'done',
        'api!mid!leaf2': 'done',
    }
    deploy.wait_until(lambda: memory_at_top(cloud) == 512, 30, 'it is repaired')


def memory_at_top(cloud) -> int:
    database = cloud.tree['api'].database()
    with database.read() as connection:
        query = sa.select(models.Instance.memory_mb).where(models.Instance.uuid == cloud.uuid)
        found = connection.execute(query).scalar_one()
    database.dispose()
    return found


def test_drift_and_sync_say_what_they_cannot_do(cloud):
    for cell, arguments, reason in (
        ('leaf', ['drift', '--instances'], 'not the top of the tree'),
        ('api', ['drift', '--quick', '--instances'], 'leave --quick out'),
        ('api', ['drift', '--cell', 'api!nosuch'], 'No cell that answered is api!nosuch'),
        ('leaf', ['instance', 'sync'], 'no cell below leaf'),
        ('api', ['instance', 'sync', '--updated-since', 'soon'], "'soon', not a time"),
        ('api', ['instance', 'sync', '--wait', '-1'], 'not from 0'),
    ):
        assert reason in cloud.refused(cell, *arguments)
    [own] = cloud.json('leaf2', 'drift', '--quick')
    assert (own['Cell'], own['Instances'], own['Records']) == ('leaf2', 1, None)


# -- requests --


def test_a_request_is_shown_over_all_cells_in_order(cloud):
    rows = cloud.json('api', 'request', 'show', cloud.request_id)
    assert [row['Time'] for row in rows] == sorted(row['Time'] for row in rows)
    seen = {(row['Cell'], row['Kind']) for row in rows}
    assert {
        ('api', 'journal'),
        ('api', 'placement'),
        ('api!mid', 'journal'),
        ('api!mid', 'placement'),
        ('api!mid!leaf2', 'journal'),
        ('api!mid!leaf2', 'action'),
        ('api!mid!leaf2', 'step'),
        ('api!mid!leaf2', 'host'),
    } <= seen
    assert {row['Instance'] for row in rows} == {cloud.uuid}
    actions = [row for row in rows if row['Kind'] == 'action']
    assert [(row['What'], row['State']) for row in actions] == [('create', 'done')]
    assert 'in "instance show"' in cloud.refused('api', 'request', 'show', 'req-nosuch')


# -- the journal --


@pytest.fixture
def in_journal(cloud):
    """Put an order for the instance into the inbox of its cell, and give its id."""
    database = cloud.tree['leaf2'].database()
    made = []

    def put(operation: str, state: str, envelope: bool = True) -> str:
        message = order(
            operation,
            method_kwargs={'instance': cloud.uuid, 'reboot_type': SECRETS[1]},
            ctxt=context.RequestContext('u1', 'p1', is_admin=True).to_dict(),
        )
        text = wire.encode(message).replace('api!mid!leaf', 'api!mid!leaf2') if envelope else ''
        with database.write() as connection:
            row = (message.uuid, operation, text, cloud.uuid, '1', 'req-of-order')
            inbox.inbox_accept(connection, [row])
            which = sa.update(models.Inbox).where(models.Inbox.uuid == message.uuid)
            connection.execute(which.values(state=state, reason='it was so', ended_at=1e10))
            found = connection.execute(
                sa.select(models.Inbox.id).where(models.Inbox.uuid == message.uuid)
            ).scalar_one()
        made.append(found)
        return 'inbox:%d' % found

    yield put
    with database.write() as connection:
        connection.execute(sa.delete(models.Inbox).where(models.Inbox.id.in_(made)))
    database.dispose()


def test_what_has_failed_is_listed_shown_and_carried_out_again(cloud, in_journal):
    name = in_journal('reboot_instance', inbox.FAILED)
    nobody = cloud.run('leaf2', 'journal', 'list', '--neighbour', 'midd')
    assert (nobody.returncode, 'no neighbour midd' in nobody.stderr) == (0, True)
    [row] = cloud.json('leaf2', 'journal', 'list', '--neighbour', 'mid', '--instance', cloud.uuid)
    assert (row['ID'], row['Operation'], row['State']) == (name, 'reboot_instance', 'failed')
    assert row['Reason'] == 'it was so'
    found = cloud.json('leaf2', 'journal', 'show', name)
    assert found['arguments'] == 'instance, reboot_type'
    assert cloud.run('leaf2', 'journal', 'retry', name).stdout == name + ': it is tried again\n'
    deploy.wait_until(
        lambda: cloud.json('leaf2', 'journal', 'show', name)['state'] != 'received', 20, 'taken up'
    )
    # What was asked for is no way to reboot, so that it has failed anew, for another reason.
    deploy.wait_until(
        lambda: (
            (one := cloud.json('leaf2', 'journal', 'show', name))['state'] == 'failed'
            and one['reason'] != 'it was so'
        ),
        20,
        'it has failed again',
    )


def in_terminal(cloud, cell: str, *arguments: str, say: bytes = b'') -> tuple[int, str, str]:
    """Run a command as a person does; return exit code, output, and what the terminal showed."""
    above, below = pty.openpty()
    program = subprocess.Popen(
        [
            str(deploy.BIN / 'nova-cells-manage'),
            '--config-file',
            str(cloud.tree[cell].conf_file),
            *arguments,
        ],
        stdin=below,
        stdout=subprocess.PIPE,
        stderr=below,
        env={**os.environ, 'TERM': 'xterm'},
        text=True,
    )
    os.close(below)
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the program has ended
            while found := os.read(above, 4096):
                shown.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    os.write(above, say)
    out, _ = program.communicate(timeout=60)
    reader.join(10)
    os.close(above)
    cloud.said.append(out + b''.join(shown).decode())
    return program.returncode, out, b''.join(shown).decode()


def test_who_is_asked_may_say_no(cloud, in_journal):
    name = in_journal('reboot_instance', inbox.FAILED)
    refused = cloud.run('leaf2', 'journal', 'drop', name)
    assert refused.returncode == 1
    assert 'who ordered it was told: nothing' in refused.stdout
    assert 'Nothing is dropped: give --yes' in refused.stderr
    code, out, shown = in_terminal(cloud, 'leaf2', 'journal', 'drop', name, say=b'n\n')
    assert code == 1
    assert 'Drop it? [y/N]' in out
    assert 'Nothing is dropped' in shown


def test_a_sync_shows_how_far_it_is(cloud):
    code, out, shown = in_terminal(cloud, 'api', 'instance', 'sync', '-f', 'json')
    assert code == 0
    assert 'Instances' in shown
    assert {row['State'] for row in json.loads(out)} == {'done'}


def test_what_was_put_aside_is_listed_and_dropped(cloud):
    database = cloud.tree['leaf'].database()
    with database.write() as connection:
        text = '{"method": "stop_instance", "args": {"password": "%s"}}' % SECRETS[1]
        journal.dead_add(connection, [('', 'stop_instance', 'a client', text, 'too often')])
    database.dispose()
    [row] = cloud.json('leaf', 'journal', 'list', '--box', 'dead')
    assert (row['Operation'], row['State'], row['Reason']) == (
        'stop_instance',
        'parked',
        'too often',
    )
    assert cloud.json('leaf', 'journal', 'show', row['ID'])['arguments'] == 'password'
    assert "a client's" in cloud.refused('leaf', 'journal', 'retry', row['ID'])
    assert cloud.run('leaf', 'journal', 'drop', '--yes', row['ID']).returncode == 0
    assert cloud.json('leaf', 'journal', 'list', '--box', 'dead') == []


def test_what_cannot_be_done_with_the_journal_is_said(cloud, in_journal):
    wiped = in_journal('set_admin_password', inbox.FAILED, envelope=False)
    done = in_journal('reboot_instance', inbox.DONE, envelope=False)
    for arguments, reason in (
        (['show', 'inbox:999999'], 'not in the journal (any more)'),
        (['show', 'letter:1'], 'no id of the journal'),
        (['drop', '--yes', done], 'nothing to drop'),
        (['retry', done], 'nothing to try again'),
        (['retry', wiped], 'may be a password'),
        (['list', '--limit', '0'], 'not from 1 to'),
    ):
        assert reason in cloud.refused('leaf2', 'journal', *arguments)


# -- with others away --


def test_a_silent_cell_is_named_and_costs_only_its_own_answer(cloud):
    cloud.tree['leaf'].kill()
    # It gets what --timeout leaves it, not all of the time of [cells] call_timeout.
    asked = ['--timeout', '15', 'request', 'show', cloud.request_id]
    found = cloud.run('api', *asked, '-f', 'json')
    assert found.returncode == 3
    assert 'Cell api!mid!leaf did not answer' in found.stderr
    assert any(row['Cell'] == 'api!mid!leaf2' for row in json.loads(found.stdout))
    waited = cloud.run('api', '--timeout', '15', 'instance', 'sync', '--wait', '1')
    assert waited.returncode == 3
    assert 'Cell api!mid!leaf did not answer' in waited.stderr


def test_d11_commands_of_a_child_work_with_its_parent_gone(cloud):
    cloud.tree['mid'].kill()
    cloud.tree['api'].kill()
    assert cloud.json('leaf2', 'instance', 'locate', cloud.uuid)[0]['Cell'] == 'leaf2'
    assert cloud.json('leaf2', 'instance', 'explain', cloud.uuid)[0]['Verdict'] == 'built'
    assert {row['Cell'] for row in cloud.json('leaf2', 'request', 'show', cloud.request_id)} == {
        'leaf2'
    }
    assert cloud.json('leaf2', 'drift')[0]['Instances'] == 1
    # What waits for the top is seen, and an order for a neighbour is dropped there.
    kwargs = {'instance': cloud.uuid, 'reboot_type': SECRETS[1]}
    message = order(came_by='api!mid', method_kwargs=kwargs)
    database = cloud.tree['mid'].database()
    with database.write() as connection:
        row = (message.uuid, 'leaf', 'targeted', wire.encode(message), cloud.uuid, 'req-1')
        journal.outbox_add(connection, [row])
    database.dispose()
    listed = ['journal', 'list', '--box', 'outbox', '--neighbour', 'leaf']
    assert 'sync_instances' in {one['Operation'] for one in cloud.json('mid', *listed)}
    [row] = cloud.json('mid', *listed, '--instance', cloud.uuid)
    assert (row['Operation'], row['State']) == ('reboot_instance', 'pending')
    assert cloud.run('mid', 'journal', 'retry', row['ID']).returncode == 0
    assert cloud.run('mid', 'journal', 'drop', '--yes', row['ID']).returncode == 0
    # The top is to be told that it failed.
    told = cloud.json('mid', 'journal', 'list', '--box', 'outbox', '--neighbour', 'api')
    assert 'x_action_failed' in {one['Operation'] for one in told}


def test_with_the_daemon_gone_a_command_says_so_and_local_works(cloud):
    cloud.tree['leaf2'].kill()
    asking = ['request', 'show', cloud.request_id]
    said = cloud.refused('leaf2', '--timeout', '5', *asking)
    assert 'daemon of cell leaf2 did not answer' in said
    assert '--local' in said
    for arguments in (
        asking,
        ['instance', 'locate', cloud.uuid],
        ['instance', 'explain', cloud.uuid],
    ):
        assert cloud.json('leaf2', *arguments, '--local')
    said = cloud.refused('leaf2', '--timeout', '5', 'drift')
    assert 'start nova-cells' in said
    assert '--local' not in said
    assert cloud.json('leaf2', 'instance', 'list')
    assert cloud.run('leaf2', 'journal', 'list').returncode == 0


def test_t5_what_is_dropped_is_reported_to_its_user_with_the_daemon_gone(cloud, in_journal):
    name = in_journal('reboot_instance', inbox.CLAIMED)
    dropped = cloud.run('leaf2', 'journal', 'drop', '--yes', name)
    assert dropped.returncode == 0
    lost, done = dropped.stdout.splitlines()
    assert 'reboot_instance of instance %s' % cloud.uuid in lost
    assert done == name + ': dropped'
    found = cloud.json('leaf2', 'instance', 'show', cloud.uuid)
    assert 'An operator has dropped it' in found['faults'][0]['message']
    assert found['actions'][0]['result'] == 'Error'
    assert found['not_told_above'] > 0


def test_x4_no_command_said_a_password(cloud):
    said = '\n'.join(cloud.said)
    assert len(cloud.said) > 40
    passwords = [*SECRETS]
    for name in CELLS:
        url = cloud.tree[name].transport_url
        passwords.append(url.partition('://')[2].partition('@')[0].partition(':')[2])
    for password in filter(None, passwords):
        assert password not in said


@pytest.fixture
def lonely(workdir):
    """The configuration of a cell with nothing behind it."""
    found = workdir / 'cells.conf'
    found.write_text(
        '[DEFAULT]\ntransport_url = rabbit://nova:%s@127.0.0.1:1/x\nstate_path = %s\n'
        '[database]\nconnection = sqlite:///%s\n[cells]\nname = api\ncell_type = api\n'
        % (SECRETS[0], workdir, workdir / 'cells.sqlite')
    )
    return found


@pytest.mark.parametrize(
    'arguments',
    [('journal', 'list'), ('instance', 'list'), ('request', 'show', '--local', 'req-1')],
    ids=' '.join,
)
def test_a_database_without_the_schema_is_refused_with_the_command_that_helps(lonely, arguments):
    refused = manage(lonely, *arguments)
    assert refused.returncode == 1
    assert 'nova-cells-manage db sync' in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_with_the_message_bus_away_a_command_says_so_once(lonely):
    refused = manage(lonely, '--timeout', '5', 'request', 'show', 'req-1')
    assert refused.returncode == 1
    assert 'start the broker, or correct [DEFAULT] transport_url' in refused.stderr
    assert refused.stderr.count('--local') == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert SECRETS[0] not in refused.stderr
