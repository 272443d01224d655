"""The option `--import MODULE|FILE.py` of every command, for user-defined networks, losses and so on."""

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any

import typer

from kennel.errors import KennelError, PluginError

Imports = Annotated[
    list[str],
    typer.Option(
        "--import",
        metavar="MODULE|FILE.py",
        help="Import this first, to register networks, losses, techniques, recipes or metrics.",
    ),
]
PREFIX = "kennel_import_"
"""Prefix in `sys.modules` of modules imported from files, so that they hide no other module."""
imported: list[str] = []
"""What `--import` has imported, files with absolute paths: processes that a command starts need it too."""


def with_imports(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option `--import` to a command; its modules are imported before the command runs."""

    @wraps(command)
    def run(*args: Any, imports: Sequence[str] = (), **options: Any) -> Any:
        import_all(imports)
        return command(*args, **options)

    signature = inspect.signature(command)
    option = inspect.Parameter(
        "imports", inspect.Parameter.KEYWORD_ONLY, default=[], annotation=Imports
    )  # typer passes a new list
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option]
    )
    run.__annotations__ = {**command.__annotations__, "imports": Imports}
    return run


def import_all(names: Sequence[str]) -> None:
    """Imports modules by name (the current folder included) and `.py` files, each once.

    Raises `PluginError` if a module is missing or its import fails.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name))
            else:
                _import_module(name)
            full = str(Path(name).resolve()) if name.endswith(".py") else name
            if full not in imported:
                imported.append(full)
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, KennelError) else f"{type(error).__name__}: "
            reason = " ".join(f"{kind}{error}".split())
            raise PluginError(f"--import {name} failed ({reason}){_place(error)}") from error


def _import_file(file: Path) -> None:
    if not file.is_file():
        raise PluginError(f"--import {file}: there is no such file; give a .py file or a module's name")
    file = file.resolve()
    name = PREFIX + file.stem
    if (loaded := sys.modules.get(name)) is not None and loaded.__file__ == str(file):
        return
    _add_folder(file.parent)  # for modules in the same folder
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # pydantic resolves annotations there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _import_module(name: str) -> None:
    _add_folder(Path.cwd())
    if name not in sys.modules and find_spec(name.partition(".")[0]) is None:
        raise PluginError(
            f"--import {name}: there is no module of this name; give a .py file, or install the package"
        )
    import_module(name)


def _add_folder(folder: Path) -> None:
    """Adds a folder to the end of the import path, after installed packages."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _place(error: BaseException) -> str:
    """Returns the file and line where the error was raised, as ` at FILE:LINE`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename.startswith("<"):  # Python's own import
        return ""
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
