"""The directive ``commands``: cliff's, with the example of each command as it is to be typed."""

from typing import Any

from cliff import sphinxext
from sphinx import application


class Commands(sphinxext.AutoprogramCliffDirective):
    """The commands of a namespace of entry points."""

    def _load_command(self, manager: Any, command_name: str) -> Any:
        found = super()._load_command(manager, command_name)

        class Documented(found):
            def get_epilog(self) -> str:
                _, _, example = found.get_epilog(self).partition('Example:')
                lines = ('    ' + line.strip() for line in example.strip().splitlines())
                return '\n'.join(['Example::', '', *lines])

        return Documented


def setup(app: application.Sphinx) -> dict[str, Any]:
    """Register it, with the options of cliff's."""
    found = sphinxext.setup(app)
    app.add_directive('commands', Commands)
    return found
