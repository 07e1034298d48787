"""How Sphinx builds the documentation: ``tools/docs``."""

import importlib.metadata
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'ext'))

project = 'cells'
project_copyright = 'the authors of cells'
release = importlib.metadata.version('cells')

extensions = [
    'commands',
    'compatibility',
    'oslo_config.sphinxext',
    'sphinx.ext.autodoc',
]
autodoc_member_order = 'bysource'
nitpicky = False
html_theme = 'alabaster'
html_theme_options = {'description': 'One cloud API over a tree of compute deployments'}
html_show_sourcelink = False
