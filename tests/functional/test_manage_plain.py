"""nova-cells-manage above a plain nova-cells, which cannot answer what it asks."""

import json

import pytest

from tests import building, fake_cells
from tests.functional.test_manage_operations import manage
from tests.unit.builders import eventually

CONF = """\
[DEFAULT]
transport_url = %(address)s
control_exchange = %(address)s
state_path = %(directory)s
host = api
[database]
connection = %(database)s
[cells]
name = api
cell_type = api
driver = fake
"""


@pytest.fixture
def conf_file(workdir):
    """The configuration of a top that has one child of ours and one plain one."""
    tree = fake_cells.FakeTree(workdir, {'api': None, 'ours': 'api'}, heal_page_interval=0.05)
    plain = building.PlainChild(workdir, 'plain', 'api')
    address = fake_cells.address(workdir, 'plain')
    fake_cells.neighbours.cell_create(
        tree['api'].database, {'name': 'plain', 'transport_url': address, 'is_parent': False}
    )
    for one in tree.cells.values():
        one.start()
    plain.start()
    found = workdir / 'api.conf'
    found.write_text(
        CONF
        % {
            'address': fake_cells.address(workdir, 'api'),
            'directory': workdir,
            'database': fake_cells.database_url(workdir, 'api'),
        }
    )
    try:
        eventually(lambda: tree['api'].state.sighting('plain').protocol == 0, 10)
        eventually(lambda: tree['api'].state.sightings.is_ours('ours'), 10)
        yield found
    finally:
        plain.stop()
        for one in tree.cells.values():
            one.stop()


def test_what_never_answers_is_named_and_neither_waited_for_nor_trouble(conf_file):
    synced = manage(conf_file, 'instance', 'sync', '-f', 'json')
    assert synced.returncode == 0, synced.stderr
    assert 'Cell api!plain cannot be asked: it is a nova-cells' in synced.stderr
    assert {row['Cell']: row['State'] for row in json.loads(synced.stdout)} == {
        'api!ours': 'done',
        'api!plain': None,
    }
    drift = manage(conf_file, 'drift', '-f', 'json')
    assert drift.returncode == 0, drift.stderr
    assert {row['Cell'] for row in json.loads(drift.stdout)} == {'api', 'api!ours'}
    assert 'Cell api!plain cannot be asked' in drift.stderr
