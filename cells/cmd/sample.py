"""Defaults of libraries' options that differ here, for the generator of the sample."""

import oslo_messaging
from oslo_config import cfg
from oslo_log import _options as log_options

from cells import logs, rpc


def set_defaults() -> None:
    """Have the sample show what the daemons use: entry point ``oslo.config.opts.defaults``."""
    oslo_messaging.set_transport_defaults(rpc.EXCHANGE)
    cfg.set_defaults(log_options.log_opts, **logs.DEFAULTS)
