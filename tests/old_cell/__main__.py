"""The process: ``python -m tests.old_cell SETTINGS``.

The settings are a JSON file with a list of cells. What a test wants comes as one JSON object a
line, ``{"id": .., "cell": .., "do": .., "args": {..}}``, and is answered the same way.
"""

import json
import sys
import threading
import time
from typing import Any

from .cell import Cell, Failed
from .records import Records, local


class Program:
    """All cells of a process."""

    def __init__(self, settings: list[dict[str, Any]]) -> None:
        self._records = {one['name']: Records(one.get('hosts', [])) for one in settings}
        run = local(self._records)
        self._cells = {one['name']: Cell(one, run) for one in settings}
        self._print = threading.Lock()

    def start(self) -> None:
        """Listen, and say what cells say at their start and then every few seconds.

        That is more often than they do, as is their healing.
        """
        for cell in self._cells.values():
            cell.start()
        threading.Thread(target=self._periodic, daemon=True).start()

    def _periodic(self) -> None:
        while True:
            for name, cell in self._cells.items():
                self._records[name].report(cell)
                if not cell.children:
                    self._records[name].heal(cell)
                for child in cell.children:
                    for what in ('announce_capabilities', 'announce_capacities'):
                        cell.cast('%s!%s' % (name, child), what, {})
            time.sleep(3)

    def serve(self) -> None:
        """Do what comes, each in a thread."""
        for line in sys.stdin:
            threading.Thread(target=self._answer, args=(json.loads(line),), daemon=True).start()

    def _answer(self, wanted: dict[str, Any]) -> None:
        found: dict[str, Any] = {'id': wanted['id']}
        try:
            found['value'] = self._do(wanted['cell'], wanted['do'], **wanted['args'])
        except Failed as error:
            found['error'] = [error.name, str(error), error.kwargs]
        except Exception as error:  # noqa: BLE001 - the test is to see it
            name = getattr(error, 'exc_type', type(error).__name__)
            found['error'] = [name, str(getattr(error, 'value', error)), {}]
        self.say(found)

    def say(self, what: dict[str, Any]) -> None:
        """Write a line for the test."""
        with self._print:
            print(json.dumps(what, default=str), flush=True)

    def _do(self, name: str, what: str, **args: Any) -> Any:
        cell, records = self._cells[name], self._records[name]
        if what in ('call', 'cast', 'ask_all', 'broadcast', 'client'):
            return getattr(cell, what)(**args)
        if what == 'heal':
            return records.heal(cell)
        with records.lock:
            if what == 'put':
                records.instances.setdefault(args['uuid'], {}).update(args)
                return None
            if what == 'drop':
                records.instances.pop(args['uuid'])
                return None
            assert what == 'state'
            return {
                'modules': [one for one in sys.modules if one.partition('.')[0] == 'cells'],
                'lost': cell.lost,
                'heard': cell.heard,
                **{key: value for key, value in vars(records).items() if key not in ('lock',)},
            }


def main() -> None:
    """Run until standard input ends."""
    with open(sys.argv[1], encoding='utf-8') as file:
        program = Program(json.load(file))
    program.start()
    program.say({'ready': True})
    program.serve()


if __name__ == '__main__':
    main()
