"""How Sphinx builds the documentation: ``tox -e docs``."""

import importlib.metadata

project = 'cells'
project_copyright = 'the authors of cells'
release = importlib.metadata.version('cells')

extensions = ['oslo_config.sphinxext']
nitpicky = False
html_theme = 'alabaster'
html_theme_options = {'description': 'One cloud API over a tree of compute deployments'}
html_show_sourcelink = False
