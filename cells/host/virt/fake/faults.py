"""How long operations of a fake host take, and which of them fail."""

import dataclasses
import hashlib
import random
import re
import threading
from collections.abc import Collection
from typing import Final, Protocol, TypeVar

from cells import exceptions
from cells.host import methods

ANY: Final = '*'
#: The operation that stands for taking an instance at all.
ACCEPT: Final = 'accept'

_RULE: Final = re.compile(r'([a-z_]+|\*):([^@]+)(?:@(.*))?')
_NUMBER: Final = r'\d+(?:\.\d+)?'
_SPAN: Final = re.compile('(%s)(?:-(%s))?' % (_NUMBER, _NUMBER))


@dataclasses.dataclass(frozen=True, slots=True)
class Delay:
    """How long an operation takes: from ``least`` to ``most`` seconds.

    :ivar text: that the display name must have in it.
    """

    method: str
    text: str
    least: float
    most: float


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """When an operation fails.

    :ivar chance: from 0 to 1; None for the first time only.
    :ivar written: as it was configured.
    """

    method: str
    text: str
    chance: float | None
    written: str


Rule = TypeVar('Rule', Delay, Failure)


def delay(written: str) -> Delay:
    """Return what an item of ``[compute] fake_delays`` says.

    :raises ConfigurationError: it says nothing.
    """
    method, amount, text = _parts('fake_delays', written, methods.METHODS)
    found = _SPAN.fullmatch(amount)
    least = float(found[1]) if found else 0.0
    most = float(found[2] or least) if found else -1.0
    if most < least:
        raise _wrong('fake_delays', written, 'build:0.5, build:1-3 or *:0.1@web')
    return Delay(method, text, least, most)


def failure(written: str) -> Failure:
    """Return what an item of ``[compute] fake_failures`` says.

    :raises ConfigurationError: it says nothing.
    """
    method, when, text = _parts('fake_failures', written, {*methods.METHODS, ACCEPT})
    chances = {'always': 1.0, 'once': None}
    if when in chances:
        return Failure(method, text, chances[when], written)
    if not re.fullmatch(_NUMBER, when) or float(when) > 1:
        raise _wrong('fake_failures', written, 'build:0.1, build:always, stop:once or *:0.5@web')
    return Failure(method, text, float(when), written)


def _parts(option: str, written: str, known: Collection[str]) -> tuple[str, str, str]:
    found = _RULE.fullmatch(written.strip())
    if found is None:
        raise _wrong(option, written, 'operation:value, with @text behind it or not')
    method, value, text = found[1], found[2].strip(), found[3] or ''
    if method != ANY and method not in known:
        names = ', '.join(sorted(known))
        raise _wrong(option, written, 'an operation of %s, or *' % names)
    return method, value, text


def _wrong(option: str, written: str, wanted: str) -> exceptions.ConfigurationError:
    return exceptions.ConfigurationError(
        reason='[compute] %s has %r; it takes %s' % (option, written, wanted)
    )


class Counters(Protocol):
    """What must be remembered over a restart."""

    def count(self, name: str) -> int:
        """Return how often this was called with a name, this time included."""


class Fate:
    """What is going to happen to one operation."""

    def __init__(
        self, method: str, seconds: float, reason: str | None, stopped: threading.Event
    ) -> None:
        self._method = method
        self._seconds = seconds
        self._reason = reason
        self._stopped = stopped

    def take(self, part: float = 1.0) -> None:
        """Spend a part of the time that the operation takes.

        :raises AgentStopped: the agent ends meanwhile.
        """
        if self._stopped.wait(self._seconds * part):
            raise exceptions.AgentStopped()

    def strike(self) -> None:
        """Let the operation fail if it is to.

        :raises DriverError: it is to.
        """
        if self._reason is not None:
            raise exceptions.DriverError(
                reason='%s has failed, as [compute] fake_failures wants: %s'
                % (self._method, self._reason)
            )


class Faults:
    """Decides on the fate of operations.

    :param host: has a part in what a seed decides.
    :param stopped: set when the agent ends.
    """

    def __init__(
        self,
        *,
        host: str,
        delays: tuple[Delay, ...],
        failures: tuple[Failure, ...],
        seed: str,
        counters: Counters,
        stopped: threading.Event,
    ) -> None:
        self._host = host
        self._delays = delays
        self._failures = failures
        self._seed = seed
        self._counters = counters
        self._stopped = stopped

    def fate(self, method: str, name: str) -> Fate:
        """Decide on an operation on an instance.

        :param name: its display name.
        """
        slow = _first(self._delays, method, name)
        fails = _first(self._failures, method, name)
        chance = self._random(method, name) if slow or fails else random.Random()
        seconds = chance.uniform(slow.least, slow.most) if slow else 0.0
        return Fate(method, seconds, self._reason(fails, chance), self._stopped)

    def refused(self, name: str) -> str | None:
        """Return why an instance is not taken at all, None when it is.

        :param name: its display name.
        """
        found = next((one for one in self._failures if _fits(one, ACCEPT, name, False)), None)
        return self._reason(found, self._random(ACCEPT, name)) if found else None

    def _reason(self, rule: Failure | None, chance: random.Random) -> str | None:
        if rule is None:
            return None
        if rule.chance is None:
            struck = self._counters.count('once %s' % rule.written) == 1
        else:
            struck = chance.random() < rule.chance
        return rule.written if struck else None

    def _random(self, method: str, name: str) -> random.Random:
        if not self._seed:
            return random.Random()
        tried = self._counters.count('tried %s %s' % (method, name))
        text = '\0'.join((self._seed, self._host, method, name, str(tried)))
        return random.Random(hashlib.sha256(text.encode()).digest())


def _first(rules: tuple[Rule, ...], method: str, name: str) -> Rule | None:
    return next((one for one in rules if _fits(one, method, name, True)), None)


def _fits(rule: Delay | Failure, method: str, name: str, any_too: bool) -> bool:
    return (rule.method == method or (any_too and rule.method == ANY)) and rule.text in name
