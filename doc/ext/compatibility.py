"""A Sphinx extension: ``.. compatibility:: methods`` puts a table of the code into a page."""

import pathlib
from typing import Any

import compatibility_tables
from docutils import nodes, statemachine
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TESTS = pathlib.Path(__file__).parents[2] / 'tests'

TABLES = {
    'caps': compatibility_tables.caps,
    'extensions': compatibility_tables.extensions,
    'later': compatibility_tables.later,
    'methods': compatibility_tables.methods,
    'needs-extensions': lambda: compatibility_tables.needs_extensions(TESTS),
    'objects': compatibility_tables.objects,
}


class Compatibility(SphinxDirective):
    """The table of a name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error('%r is none of %s' % (name, ', '.join(TABLES)))
        lines = statemachine.StringList(TABLES[name](), source='compatibility:%s' % name)
        container = nodes.Element()
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive('compatibility', Compatibility)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
