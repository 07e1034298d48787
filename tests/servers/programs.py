"""The programs of the servers: where they are, and which Debian packages are missing.

It is run before anything is installed, so it needs the standard library only:

    python3 -I tests/servers/programs.py

prints the packages that are missing, one in a line.
"""

import glob
import pathlib
import re
import shutil


class ServerError(RuntimeError):
    """Raised when a server or one of its programs is missing, fails or does not answer."""


# The server program of each package, by the places where it may be; the last match is taken, and
# failing that the first name that the PATH knows. Debian's own rabbitmq-server in the PATH is a
# wrapper that insists on the system's directories.
_PROGRAMS = {
    'rabbitmq-server': ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
    'postgresql': ['/usr/lib/postgresql/*/bin/postgres'],
    'mariadb-server': ['/usr/sbin/mariadbd'],
}


def program(package: str) -> str:
    """Return the path of the server of a package.

    :raises ServerError: if it is not installed.
    """
    found = [path for pattern in _PROGRAMS[package] for path in glob.glob(pattern)]
    if found:
        return max(found, key=lambda path: [int(number) for number in re.findall('[0-9]+', path)])
    return which(pathlib.Path(_PROGRAMS[package][0]).name, package)


def which(name: str, package: str) -> str:
    """Return the path of another program of a package.

    :raises ServerError: if it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise ServerError(f'{name} not found; Debian has it in the package {package}')
    return found


def missing_packages() -> list[str]:
    """The Debian packages of the servers that are not installed."""
    missing = []
    for package in _PROGRAMS:
        try:
            program(package)
        except ServerError:
            missing.append(package)
    return missing


if __name__ == '__main__':
    print(*missing_packages(), sep='\n')
