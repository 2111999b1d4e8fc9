"""Connections by name. To add one: write its file, then name it here."""

from . import post, pre, b2t, b2t_no_ln, b2t_all  # noqa: I001  (the order in which names are listed)
from . import deepnet, admin, tfixup, dlcl, resi_dual
from . import sub_ln, peri, mix, ln_scaling, hybrid
from . import keel, span, siamese, res_post, complete_p
from . import hyper, mhc, attn_res
from .base import Connection, Option, parse_options
from .registry import CONNECTIONS, for_each_connection, get_connection, register_connection

__all__ = [
    "CONNECTIONS",
    "Connection",
    "Option",
    "admin",
    "attn_res",
    "b2t",
    "b2t_all",
    "b2t_no_ln",
    "complete_p",
    "deepnet",
    "dlcl",
    "for_each_connection",
    "get_connection",
    "hybrid",
    "hyper",
    "keel",
    "ln_scaling",
    "mhc",
    "mix",
    "parse_options",
    "peri",
    "post",
    "pre",
    "register_connection",
    "res_post",
    "resi_dual",
    "siamese",
    "span",
    "sub_ln",
    "tfixup",
]
