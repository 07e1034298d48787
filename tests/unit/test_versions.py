import itertools
import json
import pathlib

import pytest

from cells import versions

FACTS = json.loads(
    (pathlib.Path(__file__).parents[1] / 'contract' / 'rpc_client.json').read_text(encoding='utf-8')
)


def test_the_history_has_no_gap_and_ends_with_what_is_offered():
    assert list(versions.RPC_HISTORY) == ['1.%d' % minor for minor in range(38)]
    assert versions.RPC_VERSION == '1.37'
    assert all(versions.RPC_HISTORY.values())


def test_v4_the_manager_takes_what_the_releases_speak_and_clients_send_no_more_than_1_37():
    served = FACTS['server_version_by_release']
    assert list(served) == list(versions.RELEASE_CAPS)
    for release, version in served.items():
        assert versions.minor(version) <= versions.minor(versions.SERVED_VERSION)
        cap = versions.RELEASE_CAPS[release]
        assert cap == version or (version in versions.LATER_HISTORY and cap == '1.37')
    assert {*versions.RPC_HISTORY, *versions.LATER_HISTORY} == FACTS['version_history'].keys()


@pytest.mark.parametrize('release', versions.RELEASE_CAPS)
@pytest.mark.parametrize('written', [str.lower, str.upper, str.title, ' {} '.format])
def test_a_release_may_be_written_in_any_case(release, written):
    assert versions.rpc_cap(written(release)) == versions.RELEASE_CAPS[release]


@pytest.mark.parametrize('version', versions.RPC_HISTORY)
def test_a_version_stands_for_the_first_release_that_knows_it(version):
    release = versions.cap_release(version)
    assert versions.allows(versions.RELEASE_CAPS[release], version)
    older = list(versions.OBJECT_VERSIONS)[: list(versions.OBJECT_VERSIONS).index(release)]
    assert not any(versions.allows(versions.RELEASE_CAPS[one], version) for one in older)


@pytest.mark.parametrize('release', versions.OBJECT_VERSIONS)
def test_a_release_stands_for_its_own_objects(release):
    assert versions.cap_release(release.upper()) == release


def test_the_objects_of_no_cap_are_ours_and_of_grizzly_the_first_there_were():
    assert versions.cap_release(None) is None
    assert versions.cap_release('grizzly') == 'havana'
    with pytest.raises(ValueError, match='upgrade_levels'):
        versions.cap_release('folsom')


def test_a_name_of_a_release_means_the_same_everywhere():
    assert list(versions.OBJECT_VERSIONS) == list(versions.RELEASE_CAPS)[1:]
    for earlier, later in itertools.pairwise(versions.OBJECT_VERSIONS.values()):
        assert earlier.keys() <= later.keys()
        for name, version in earlier.items():
            assert _numbers(version) <= _numbers(later[name]), name


def _numbers(version):
    return tuple(int(part) for part in version.split('.'))


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


@pytest.mark.parametrize('setting', ['grizzly', 'havana', 'kilo', 'stein', ' Rocky ', '1.0'])
def test_v9_the_rpc_between_cells_was_never_but_of_one_version(setting):
    assert versions.intercell_cap(setting) == '1.0' == versions.INTERCELL_VERSION
    assert versions.intercell_cap(None) is None


@pytest.mark.parametrize('setting', ['', 'folsom', 'auto', '1.1', '0.9', '2.0', '1', '1.37'])
def test_v9_a_version_of_the_rpc_between_cells_that_never_was_is_refused(setting):
    with pytest.raises(ValueError, match=r'\[upgrade_levels\] intercell = .*stein.* nor 1\.0'):
        versions.intercell_cap(setting)
