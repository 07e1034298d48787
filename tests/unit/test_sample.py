"""What operators copy is what the code says."""

import io
import pathlib

from oslo_config import cfg, generator

ROOT = pathlib.Path(__file__).parents[2]
SAMPLE = ROOT / 'etc' / 'cells' / 'cells.conf.sample'


def test_the_sample_configuration_is_what_the_generator_makes():
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf(['--config-file', str(SAMPLE.with_name('cells-config-generator.conf'))])
    made = io.StringIO()
    generator.generate(conf, made)
    # On failure: tox -e genconfig
    assert made.getvalue().splitlines() == SAMPLE.read_text().splitlines()
