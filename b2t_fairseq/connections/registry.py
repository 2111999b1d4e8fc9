"""Names of connections."""

from collections.abc import Callable

from ..errors import UserError
from .base import Connection

CONNECTIONS: dict[str, type[Connection]] = {}


def register_connection(name: str) -> Callable[[type[Connection]], type[Connection]]:
    """Class decorator that makes a connection available as `--connection NAME`.

    Raises:
        UserError: the name is taken by another class.
    """

    def register(cls: type[Connection]) -> type[Connection]:
        if CONNECTIONS.get(name, cls) is not cls:
            raise UserError(f"two connections are named '{name}': rename yours ({cls.__module__}.{cls.__qualname__})")
        cls.name = name
        CONNECTIONS[name] = cls
        return cls

    return register


def get_connection(name: str) -> type[Connection]:
    """The class registered under a name.

    Raises:
        UserError: unknown name; lists the known ones.
    """
    if name not in CONNECTIONS:
        raise UserError(f"--connection '{name}' is unknown: choose one of {', '.join(CONNECTIONS)}")
    return CONNECTIONS[name]
