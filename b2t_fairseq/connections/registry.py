"""Names of connections."""

from collections.abc import Callable

from ..common.errors import UserError
from .base import Connection

CONNECTIONS: dict[str, type[Connection]] = {}
_actions: list[Callable[[str], None]] = []


def register_connection(name: str) -> Callable[[type[Connection]], type[Connection]]:
    """Class decorator that makes a connection available as `--connection NAME`.

    Raises:
        UserError: the name is taken by another class.
    """

    def register(cls: type[Connection]) -> type[Connection]:
        if CONNECTIONS.get(name, cls) is not cls:
            raise UserError(f"two connections are named '{name}': rename yours ({cls.__module__}.{cls.__qualname__})")
        is_new = name not in CONNECTIONS
        cls.name = name
        CONNECTIONS[name] = cls
        for action in _actions if is_new else ():
            action(name)
        return cls

    return register


def for_each_connection(action: Callable[[str], None]) -> None:
    """Call `action(name)` for every connection: those that are registered now, and later ones when they are."""
    _actions.append(action)
    for name in CONNECTIONS:
        action(name)


def get_connection(name: str) -> type[Connection]:
    """Return the class registered under a name.

    Raises:
        UserError: unknown name; lists the known ones.
    """
    if name not in CONNECTIONS:
        raise UserError(f"--connection '{name}' is unknown: choose one of {', '.join(CONNECTIONS)}")
    return CONNECTIONS[name]
