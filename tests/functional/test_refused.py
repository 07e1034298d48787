"""A broker that refuses the user of running daemons, as when its password was changed too early."""

import urllib.parse

import oslo_messaging
import pytest

from tests import deploy


@pytest.fixture
def tree(rabbit, workdir):
    found = deploy.Tree(
        workdir,
        rabbit,
        deploy.sqlite(workdir),
        {'api': None, 'leaf': 'api'},
        prefix='refused_',
        workers=1,
        options='call_timeout = 5\n',
    )
    with found.running():
        yield found
    found.stop()


def test_o8_a_refused_user_is_named_without_tracebacks_and_got_over(tree, rabbit):
    ops = tree.ops('api')
    deploy.wait_until(lambda: link(ops)['link_up'], 30, 'the cells know each other')
    url = urllib.parse.urlsplit(tree['api'].transport_url)
    rabbit.ctl('change_password', url.username, 'another')
    try:
        rabbit.ctl('close_all_connections', '--global', 'the password was changed')
        for one in tree.cells.values():
            deploy.wait_until(
                lambda one=one: 'link down' in one.log() and 'ACCESS_REFUSED' in one.log(),
                30,
                '%s says that it is refused' % one.name,
            )
    finally:
        rabbit.ctl('change_password', url.username, url.password)
    deploy.wait_until(lambda: answers(ops) == {'api', 'api!leaf'}, 60, 'all is as it was')
    for one in tree.cells.values():
        assert not one.ended()
        assert 'Traceback' not in one.log(), one.log()
        assert url.password not in one.log()


def link(ops):
    [found] = ops.status(deploy.admin())['neighbours']
    return found


def answers(ops):
    try:
        found = ops.query(deploy.admin(), 'service_get_all', {'filters': None})
    except oslo_messaging.MessagingException:
        return set()
    return {one['cell'] for one in found['answers']}
