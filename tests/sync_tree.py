"""Instances in cells of one process, changed as their cells would, and looked at from above."""

import json

from cells.db import instances, unsent
from tests import deploy, replication

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
LINE = {'top': None, 'mid': 'top', 'leaf': 'mid'}
VALUES = {'project_id': 'p1', 'user_id': 'u1', 'vm_state': 'active', 'host': 'h1'}


def numbered(number):
    return '%08d-0000-4000-8000-000000000000' % number


def create(cell, *uuids, **values):
    with cell.database.write() as connection:
        for uuid in uuids or (ONE,):
            given = {**VALUES, **values, 'uuid': uuid}
            fields = {'system_metadata': {'image_os': 'linux'}}
            instances.instance_create(connection, given, {'a': 'b'}, fields)
    cell.wake()


def update(cell, uuid=ONE, fields=None, **values):
    with cell.database.write() as connection:
        instances.instance_update(connection, uuid, values, fields=fields)
    cell.wake()


def equal(here, there, uuid=ONE):
    found = replication.record(here.database, uuid)
    return found is not None and found == replication.record(there.database, uuid)


def rest(cell, seconds=15):
    """Wait until a cell has nothing to send."""
    deploy.wait_until(
        lambda: not unsent.summary(cell.database)['rows'], seconds, 'nothing is dirty'
    )


def spy(cell):
    """Return the list of all that a cell sends from now on: kinds and envelopes."""
    sent = []
    send = cell.driver.send

    def note(neighbour, outgoing):
        sent.append((outgoing.kind.value, json.loads(outgoing.text), len(outgoing.text)))
        send(neighbour, outgoing)

    cell.driver.send = note
    return sent
