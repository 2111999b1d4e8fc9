"""Connections from a module of the user's own (`--connection-module`)."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from ..common.errors import UserError


def import_connection_module(module: str) -> str:
    """Import a module that registers connections; a second call does nothing.

    Args:
        module: a dotted name that Python can import, or the path of a .py file or of a package's folder.

    Returns:
        What a checkpoint should save: the name, or the absolute path.

    Raises:
        UserError: there is no such module, or it cannot be imported.
    """
    is_path = module.endswith(".py") or os.sep in module
    try:
        if not is_path:
            importlib.import_module(module)
            return module
        path = Path(module).expanduser().resolve()
        import_file(path / "__init__.py" if path.is_dir() else path)
        return str(path)
    except UserError:
        raise
    except Exception as error:  # whatever goes wrong in code of the user's
        hint = "give the path of its .py file" if isinstance(error, ModuleNotFoundError) and not is_path else "fix it"
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"--connection-module {module} cannot be imported ({reason}): {hint}") from error


def import_file(path: Path) -> None:
    """Import a file under a name of its own, unless it is there already, by whatever name."""
    if not path.is_file():
        raise UserError(f"--connection-module {path}: there is no such file: check the path")
    files = (vars(module).get("__file__") for module in list(sys.modules.values()) if hasattr(module, "__dict__"))
    if str(path) in {os.path.realpath(file) for file in files if file}:
        return
    name = f"b2t_connection_module_{(path.parent if path.name == '__init__.py' else path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # Python reads no file with such an ending
        raise UserError(f"--connection-module {path}: not a Python file: name one that ends in .py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name]
        raise
