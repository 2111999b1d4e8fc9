"""`--connection-module`: connections from a module of the user's own.

The module is imported before the command line is parsed, as fairseq does it for `--user-dir`, so that `--connection`
and `--arch` know its names. Every command takes the option, also those that load a checkpoint: the module that a
checkpoint names is never imported on the checkpoint's word, because a checkpoint from a stranger must not run code.
"""

import argparse
import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from fairseq import models, options

from ..connections import CONNECTIONS
from ..errors import UserError


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
        hint = "give the path of its .py file" if isinstance(error, ModuleNotFoundError) and not is_path else "mend it"
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
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name]
        raise


def import_before_parsing() -> None:
    """Let fairseq's option parser import the module before it looks at the other options."""
    parse = options.parse_args_and_arch
    if getattr(parse, "imports_connections", False):
        return

    @functools.wraps(parse)
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        early.add_argument("--connection-module")
        found, rest = early.parse_known_args(input_args)
        if found.connection_module:
            import_connection_module(found.connection_module)
            if "--max-update" not in parser._option_string_actions:
                input_args = rest  # a command that does not train has no options of the model's
        return parse(parser, input_args, *args, **kwargs)

    parse_args_and_arch.imports_connections = True
    options.parse_args_and_arch = parse_args_and_arch


def import_before_building() -> None:
    """Let fairseq import a configuration's module, or ask for a checkpoint's, before it looks for the architecture."""
    build = models.build_model
    if getattr(build, "imports_connections", False):
        return

    @functools.wraps(build)
    def build_model(cfg, *args, **kwargs):
        module, name = (getattr(cfg, key, None) for key in ("connection_module", "connection"))
        if module and name not in CONNECTIONS:
            if getattr(cfg, "connection_signature", None):
                raise UserError(
                    f"the checkpoint's connection '{name}' comes from {module}, and a checkpoint must not run code: "
                    f"if you trust that file, add --connection-module {module}"
                )
            import_connection_module(module)
        return build(cfg, *args, **kwargs)

    build_model.imports_connections = True
    models.build_model = build_model


import_before_parsing()
import_before_building()
