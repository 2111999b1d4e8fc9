"""Connections by name. To add one: write its file, then name it here."""

from . import post, pre, b2t, b2t_no_ln, b2t_all  # noqa: I001  (the order in which names are listed)
from . import deepnet, admin, tfixup, dlcl, resi_dual
from . import sub_ln, peri, mix, ln_scaling, hybrid
from .base import Connection, Option, parse_options
from .registry import CONNECTIONS, for_each_connection, get_connection, register_connection

__all__ = [
    "CONNECTIONS",
    "Connection",
    "Option",
    "admin",
    "b2t",
    "b2t_all",
    "b2t_no_ln",
    "deepnet",
    "dlcl",
    "for_each_connection",
    "get_connection",
    "hybrid",
    "ln_scaling",
    "mix",
    "parse_options",
    "peri",
    "post",
    "pre",
    "register_connection",
    "resi_dual",
    "sub_ln",
    "tfixup",
]
