"""Values that cannot be ones: which, from where, and what is allowed."""

import pytest
from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions
from cells.cmd import option_values


@pytest.fixture
def conf(tmp_path):
    """Return what reads a text as a configuration file."""

    def read(text: str) -> cfg.ConfigOpts:
        (tmp_path / 'cells.conf').write_text(text)
        found = cfg.ConfigOpts()
        cells_conf.register_opts(found)
        place = str(tmp_path / 'cells.conf')
        found(['--config-file', place], project='cells', prog='test')
        return found

    return read


@pytest.mark.parametrize(
    ('group', 'value', 'why'),
    [
        ('cells', 'call_timeout = -3', 'Should be greater than or equal to 1'),
        ('cells', 'workers = x', 'It is not a whole number'),
        ('cells', 'ram_weight_multiplier = much', 'It is not a number'),
        ('cells', 'enable = perhaps', "Unexpected boolean value 'perhaps'"),
        ('compute', 'fake_vcpus = many', 'It is not a whole number'),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_what_is_allowed(
    conf, tmp_path, group, value, why
):
    found = conf('[%s]\n%s\n' % (group, value))
    said = '[%s] %s is not valid (%s): %s' % (group, value, tmp_path / 'cells.conf', why)
    assert list(option_values.wrong(found)) == [said]
    with pytest.raises(exceptions.ConfigurationError) as caught:
        option_values.check(found)
    assert str(caught.value) == said


def test_a_wrong_value_in_the_environment_is_named_with_its_variable(conf, monkeypatch):
    monkeypatch.setenv('OS_CELLS__WORKERS', 'x')
    [said] = option_values.wrong(conf('[cells]\nname = y\n'))
    assert said == '[cells] workers is not valid (OS_CELLS__WORKERS): It is not a whole number'
