"""The methods that a comparison names: our connections, connections of the user's, and fairseq architectures.

    post                              a connection, by its name
    mine                              one of the user's, from `--connection-module mine.py` or `--user-dir FOLDER`
    arch:transformer_iwslt_de_en      a fairseq architecture, stock or the user's; it gets the sizes of the others

Tools that compare methods add both options by `add_code_options`. What an option imports is noted, so that child
processes are given the code of their method, and a method that was edited is another method (`code_key`).
"""

import argparse
import difflib
import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from ..common.errors import UserError
from ..connections import CONNECTIONS, get_connection
from ..connections.own_module import import_connection_module

ARCH = "arch:"
METHODS = "connections, and fairseq architectures as arch:NAME"
MODULE, USER_DIR = "--connection-module", "--user-dir"
#: connection or architecture of the user's -> the option that imports it, and its value, which holds in any folder
OWN: dict[str, tuple[str, str]] = {}


class ImportCode(argparse.Action):
    """Imports the user's code when the option is parsed, so that what follows knows its names."""

    def __call__(self, parser, namespace, value, option=None):
        given = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*given, import_code(self.option_strings[0], value)])


def add_code_options(add: Callable[..., argparse.Action]) -> None:
    """Add `--connection-module` and `--user-dir`; both may be given several times."""
    methods = "methods of yours: a module that registers connections (a .py file, a package's folder or a dotted name)"
    add(MODULE, action=ImportCode, metavar="FILE", help=methods)
    add(USER_DIR, action=ImportCode, metavar="DIR", help="a fairseq user directory of yours, with architectures")


def import_code(option: str, place: str) -> str:
    """Import the user's code, note the names that it registers, and return its place as any folder spells it.

    Raises:
        UserError: it is not there, cannot be imported, or registers nothing.
    """
    before = {*CONNECTIONS, *ARCH_MODEL_REGISTRY}
    if option == MODULE:
        place = import_connection_module(place)
    else:
        place = os.path.abspath(os.path.expanduser(place))
        import_user_dir(place)
    if (option, place) in OWN.values():
        return place
    known = {**ARCH_MODEL_REGISTRY, **CONNECTIONS}
    names = {name for name in known if name not in before} | defined_in(files_of(place), known)
    if not names:
        raise UserError(
            f"{option} {place} registers no connection and no architecture: decorate the class with "
            '@register_connection("NAME"), or leave the option out'
        )
    OWN.update(dict.fromkeys(sorted(names), (option, place)))
    return place


def import_user_dir(folder: str) -> None:
    """Import a fairseq user directory.

    Raises:
        UserError: it is not there, or cannot be imported.
    """
    if not os.path.isfile(os.path.join(folder, "__init__.py")):
        raise UserError(f"{USER_DIR} {folder}: there is no {folder}/__init__.py: check the path")
    try:
        utils.import_user_module(Namespace(user_dir=folder))
    except UserError:
        raise
    except Exception as error:  # whatever goes wrong in code of the user's
        raise UserError(f"{USER_DIR} {folder} cannot be imported ({type(error).__name__}: {error}): fix it") from error


def defined_in(files: Iterable[Path], known: dict[str, type]) -> set[str]:
    """Return the names whose classes are defined in some files: of code that was imported before, by another name."""
    places = {os.path.realpath(file) for file in files}
    homes = {name: getattr(sys.modules.get(cls.__module__), "__file__", None) for name, cls in known.items()}
    return {name for name, home in homes.items() if home and os.path.realpath(home) in places}


def files_of(place: str) -> list[Path]:
    """Return the Python files of a module: its file, or all in its package's folder."""
    if place in sys.modules:  # a dotted name
        place = sys.modules[place].__file__ or ""
    path = Path(place)
    folder = path.parent if path.name == "__init__.py" else path
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [path]


def code_options(*methods: str) -> list[str]:
    """Return the options that import the code of some methods; none for what is ours or stock fairseq's."""
    places = dict.fromkeys(OWN[name] for method in methods if (name := method.removeprefix(ARCH)) in OWN)
    return [word for place in places for word in place]


def code_key(*methods: str) -> str:
    """Hash the content of the methods' code, wherever it lies; "" for what is ours or stock fairseq's."""
    places = code_options(*methods)[1::2]
    if not places:
        return ""
    content = hashlib.sha256()
    for place in places:
        for file in files_of(place):
            content.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return content.hexdigest()[:12]


def anywhere(argument: str) -> str:
    """Return an argument without the folder of the user's code, which is one machine's."""
    for place in {place for _, place in OWN.values()}:
        if argument == place and os.path.isabs(place):
            return Path(place).name
    return argument


def is_arch(method: str) -> bool:
    """Return whether a method is a fairseq architecture, `arch:NAME`."""
    return method.startswith(ARCH)


def is_own(method: str) -> bool:
    """Return whether a method is the user's: also where its code is not imported, as in kept results."""
    return method in OWN or method not in CONNECTIONS


def check_method(method: str) -> str:
    """Return a method's name if it is a known one.

    Raises:
        UserError: an unknown connection or architecture.
    """
    if not is_arch(method):
        return get_connection(method).name
    name = method.removeprefix(ARCH)
    if name not in ARCH_MODEL_REGISTRY:
        near = difflib.get_close_matches(name, ARCH_MODEL_REGISTRY, n=1)
        hint = f"did you mean {near[0]}?" if near else f"name the code that registers it by {USER_DIR}"
        raise UserError(f"{ARCH}{name}, --arch {name}: fairseq has no architecture '{name}': {hint}")
    return method


def parse_methods(text: str, option: str, others: Mapping[str, Callable[[str], str]] | None = None) -> list[str]:
    """Parse different methods, `post,b2t,mine`.

    Args:
        text: of the option.
        option: for the error.
        others: how names begin that are something else, and what checks them.

    Raises:
        UserError: none, one twice, or an unknown one.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{option} needs different names, as in post,pre,b2t")
    checks = [*(others or {}).items(), ("", check_method)]
    return [next(check for start, check in checks if name.startswith(start))(name) for name in names]


def default_init(method: str) -> str:
    """Return what `--connection-init auto` means; an architecture initialises itself."""
    return "" if is_arch(method) else get_connection(method).default_init


def word(method: str) -> str:
    """Return a method's name for files: fairseq takes a colon in `--path` for the end of a name."""
    return method.replace(":", "-")


def sizes_like(reference: str, depths: Sequence[int]) -> dict[str, Any]:
    """Return the sizes of one of our architectures, with other depths, as options by name.

    Args:
        reference: our architecture.
        depths: of encoder and decoder, or of a language model's decoder.
    """
    args = Namespace()
    ARCH_CONFIG_REGISTRY[reference](args)
    sides = ("encoder", "decoder") if len(depths) == 2 else ("decoder",)
    names = ["embed_dim", "ffn_embed_dim", "attention_heads"] + ["input_dim", "output_dim"] * (len(depths) == 1)
    sizes = {f"{side}_layers": depth for side, depth in zip(sides, depths, strict=True)}
    return sizes | {f"{side}_{name}": getattr(args, f"{side}_{name}") for side in sides for name in names}
