import pytest

from cells import context, exceptions, policy
from cells.objects import instance

OWNER = context.RequestContext('u1', 'p1')
STRANGER = context.RequestContext('u1', 'p2')
NOBODY = context.RequestContext('u1', None)
ADMIN = context.RequestContext('u3', 'p3', is_admin=True)


@pytest.mark.parametrize(
    ('ctxt', 'action', 'project', 'may'),
    [
        (OWNER, 'compute:lock', 'p1', True),
        (ADMIN, 'compute:lock', 'p1', True),
        (STRANGER, 'compute:lock', 'p1', False),
        (NOBODY, 'compute:lock', 'p1', False),
        (NOBODY, 'compute:lock', None, False),
        (ADMIN, 'compute:lock', None, True),
        (OWNER, 'compute:unlock_override', 'p1', False),
        (ADMIN, 'compute:unlock_override', 'p1', True),
    ],
)
def test_members_of_the_project_and_administrators_may_what_the_rules_say(
    ctxt, action, project, may
):
    assert policy.allows(ctxt, action, project) is may
    one = instance.Instance(project_id=project)
    if may:
        policy.check(ctxt, action, one)
        return
    with pytest.raises(exceptions.PolicyNotAuthorized) as caught:
        policy.check(ctxt, action, one)
    assert caught.value.code == 403
    assert caught.value.kwargs['action'] == action


@pytest.mark.parametrize(
    ('ctxt', 'hints', 'refused'),
    [
        (ADMIN, {'target_cell': 'api!a', 'different_cell': 'api!b'}, None),
        (OWNER, {'target_cell': 'api!a'}, 'TargetCellFilter'),
        (OWNER, {'target_cell': None, 'group': 'g'}, None),
        (OWNER, {'different_cell': ['api!a']}, None),
        (NOBODY, {'different_cell': ['api!a']}, 'DifferentCellFilter'),
        (OWNER, {}, None),
    ],
)
def test_c8_who_may_give_which_hint(ctxt, hints, refused):
    if refused is None:
        policy.check_hints(ctxt, hints)
        return
    with pytest.raises(exceptions.PolicyNotAuthorized) as caught:
        policy.check_hints(ctxt, hints)
    assert caught.value.code == 403
    assert caught.value.kwargs['action'] == 'cells_scheduler_filter:%s' % refused
