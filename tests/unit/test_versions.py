import itertools

import pytest

from cells import versions


def test_the_history_has_no_gap_and_ends_with_what_is_offered():
    assert list(versions.RPC_HISTORY) == ['1.%d' % minor for minor in range(38)]
    assert versions.RPC_VERSION == '1.37'
    assert all(versions.RPC_HISTORY.values())


def test_no_release_knows_less_than_the_one_before():
    minors = [int(cap.partition('.')[2]) for cap in versions.RELEASE_CAPS.values()]
    assert all(earlier <= later for earlier, later in itertools.pairwise(minors))
    assert set(versions.RELEASE_CAPS.values()) <= set(versions.RPC_HISTORY)


@pytest.mark.parametrize(
    ('setting', 'cap'),
    [
        (None, None),
        ('grizzly', '1.6'),
        ('havana', '1.24'),
        ('icehouse', '1.27'),
        ('juno', '1.29'),
        ('kilo', '1.34'),
        ('liberty', '1.37'),
        ('mitaka', '1.37'),
        ('stein', '1.37'),
        (' Kilo ', '1.34'),
        ('1.0', '1.0'),
        ('1.34', '1.34'),
        ('1.37', '1.37'),
    ],
)
def test_a_cap_is_written_as_a_release_or_a_version(setting, cap):
    assert versions.rpc_cap(setting) == cap


@pytest.mark.parametrize('setting', ['', 'folsom', 'auto', '1.38', '2.0', '1', '1.034', 'v1.34'])
def test_what_is_neither_a_release_nor_a_version_is_refused(setting):
    with pytest.raises(ValueError, match='upgrade_levels'):
        versions.rpc_cap(setting)
