"""Connections by name. To add one: write its file, then name it here."""

from . import post, pre, b2t, b2t_no_ln, b2t_all  # noqa: I001  (the order in which names are listed)
from .base import Connection, Option, parse_options
from .registry import CONNECTIONS, get_connection, register_connection

__all__ = [
    "CONNECTIONS",
    "Connection",
    "Option",
    "b2t",
    "b2t_all",
    "b2t_no_ln",
    "get_connection",
    "parse_options",
    "post",
    "pre",
    "register_connection",
]
