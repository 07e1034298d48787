"""Services and the uuids by which clients from Pike on name them, on every kind of database."""

import pytest
import sqlalchemy as sa

from cells import exceptions
from cells.db import models
from cells.handlers import services as service_handlers
from tests.functional.test_stores_hosts import CTXT, order, report


@pytest.fixture
def handlers(database):
    return service_handlers.ServiceHandlers(database)


def test_o5_a_service_is_deleted_by_its_uuid(database, handlers):
    report(database)
    report(database, 'h2', 'm2')
    [first, second] = handlers.service_get_all(CTXT)
    assert first.uuid != second.uuid
    assert handlers.service_get_all(CTXT, {'uuid': second.uuid})[0].host == 'h2'
    for unknown in ('99999999-1111-4111-8111-111111111111', first.uuid + 'x'):
        with pytest.raises(exceptions.ServiceNotFound), database.write() as connection:
            handlers.service_delete(connection, order(), unknown)
    with database.write() as connection:
        handlers.service_delete(connection, order(), first.uuid.upper())
    assert [one.host for one in handlers.service_get_all(CTXT)] == ['h2']


def test_a_service_from_before_there_were_uuids_gets_one_when_it_reports(database, handlers):
    report(database)
    with database.write() as connection:
        connection.execute(sa.update(models.Service).values(uuid=None))
    [before] = handlers.service_get_all(CTXT)
    assert 'uuid' not in before
    assert handlers.service_get_all(CTXT, {'uuid': 'x'}) == []
    report(database)
    [first] = handlers.service_get_all(CTXT)
    report(database)
    [again] = handlers.service_get_all(CTXT)
    assert first.uuid == again.uuid
