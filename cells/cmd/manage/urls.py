"""The transport URL of a neighbour on a command line: whole, in parts, from elsewhere.

What stands on a command line is seen by all users of the machine (``ps``) and stays in the
history of the shell; a file, the standard input or the environment keep a password to oneself.
"""

import argparse
import os
import pathlib
import re
import sys
from typing import Any
from urllib import parse

from oslo_utils import netutils

from cells import exceptions

_PARTS = ('broker', 'username', 'password_file', 'password_env', 'virtual_host')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what gives a URL, beside the argument ``transport_url`` itself."""
    group = parser.add_argument_group(
        'message bus of the cell', 'the argument transport_url, or one of these ways to give it'
    )
    group.add_argument('--url-file', metavar='PATH', help='file with the URL; - to read it here')
    group.add_argument('--url-env', metavar='NAME', help='environment variable with the URL')
    group.add_argument(
        '--broker',
        action='append',
        metavar='HOST[:PORT]',
        help='a broker; may be given several times',
    )
    group.add_argument('--username', help='user at the brokers')
    group.add_argument('--password-file', metavar='PATH', help='file with its password; - as above')
    group.add_argument('--password-env', metavar='NAME', help='environment variable with it')
    group.add_argument('--virtual-host', metavar='NAME', help='virtual host at the brokers')


def without_passwords(text: str) -> str:
    """Return a text in which the users and passwords of URLs are not to be seen.

    A password may have any character. So all between the first and the last of several URLs goes.
    """
    return re.sub(r'://.*@', '://***@', text, flags=re.DOTALL)


def hide_in_errors(parser: Any) -> None:
    """Have a parser not repeat passwords of what was typed: what a script types may be kept."""
    refuse = parser.error
    parser.error = lambda message: refuse(without_passwords(message))


def given(args: Any) -> str | None:
    """Return the URL that was given, None for none.

    :raises Invalid: it was given in two ways, or not wholly, or is not where it was said to be.
    """
    parts = [name for name in _PARTS if getattr(args, name)]
    ways = [name for name in ('transport_url', 'url_file', 'url_env') if getattr(args, name)]
    if parts:
        ways.append('--' + parts[0].replace('_', '-'))
    if len(ways) > 1:
        raise exceptions.Invalid(
            'The message bus of the cell is given twice: by %s and by %s'
            % tuple(name if name.startswith('-') else _option(name) for name in ways[:2])
        )
    if not ways:
        return None
    if args.transport_url:
        return str(args.transport_url)
    if args.url_file:
        return _read(args.url_file, '--url-file')
    if args.url_env:
        return _environment(args.url_env, '--url-env')
    return _joined(args)


def _option(name: str) -> str:
    return name if name == 'transport_url' else '--' + name.replace('_', '-')


def _joined(args: Any) -> str:
    if not args.broker or not args.username or not (args.password_file or args.password_env):
        raise exceptions.Invalid(
            'The message bus of the cell is not complete: it takes --broker, --username, '
            '--password-file or --password-env, and --virtual-host'
        )
    if args.password_file and args.password_env:
        raise exceptions.Invalid('Give --password-file or --password-env, not both')
    password = (
        _read(args.password_file, '--password-file')
        if args.password_file
        else _environment(args.password_env, '--password-env')
    )
    credentials = '%s:%s' % (parse.quote(args.username, safe=''), parse.quote(password, safe=''))
    hosts = ','.join('%s@%s' % (credentials, _host(one)) for one in args.broker)
    return 'rabbit://%s/%s' % (hosts, parse.quote(args.virtual_host or '', safe=''))


def _host(text: str) -> str:
    try:
        host, port = netutils.parse_host_port(text, 5672)
    except ValueError:
        host, port = None, None
    if not host or not port or not 0 < port < 65536:
        raise exceptions.Invalid('--broker %s is not of the form HOST or HOST:PORT' % text)
    return '%s:%d' % (netutils.escape_ipv6(host), port)


def _read(path: str, option: str) -> str:
    try:
        text = sys.stdin.read() if path == '-' else pathlib.Path(path).read_text('utf-8')
    except OSError as error:
        raise exceptions.Invalid('%s %s: %s' % (option, path, error.strerror)) from None
    except UnicodeDecodeError:
        raise exceptions.Invalid('%s %s is not a text' % (option, path)) from None
    if not text.strip():
        raise exceptions.Invalid('%s %s is empty' % (option, path))
    return text.strip()


def _environment(name: str, option: str) -> str:
    text = os.environ.get(name, '').strip()
    if not text:
        raise exceptions.Invalid('%s %s: there is no such environment variable' % (option, name))
    return text
