"""`--import MODULE_OR_FILE.py`, on every command: one's own networks, losses, techniques, recipes, ..."""

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
        help="Import this first: it registers networks, losses, techniques, recipes or metrics.",
    ),
]
PREFIX = "kennel_import_"
"""How modules from files are called in `sys.modules`, so that none hides another module."""


def with_imports(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with the option `--import`, whose modules are imported before it begins."""

    @wraps(command)
    def run(*args: Any, imports: Sequence[str] = (), **options: Any) -> Any:
        import_all(imports)
        return command(*args, **options)

    signature = inspect.signature(command)
    option = inspect.Parameter(
        "imports", inspect.Parameter.KEYWORD_ONLY, default=[], annotation=Imports
    )  # typer makes a new list of it
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option]
    )
    run.__annotations__ = {**command.__annotations__, "imports": Imports}
    return run


def import_all(names: Sequence[str]) -> None:
    """Imports modules by name, from the current folder too, and files that end in `.py`, each once.

    Raises `PluginError` for what is not there or fails.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name))
            else:
                _import_module(name)
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
    if (there := sys.modules.get(name)) is not None and there.__file__ == str(file):
        return
    _add_folder(file.parent)  # for modules beside it
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks up annotations there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _import_module(name: str) -> None:
    _add_folder(Path.cwd())
    if name not in sys.modules and find_spec(name.partition(".")[0]) is None:
        raise PluginError(
            f"--import {name}: there is no module of this name here; give a file that ends in .py, or "
            "install the package"
        )
    import_module(name)


def _add_folder(folder: Path) -> None:
    """Modules of this folder can be imported; those that are installed come first."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _place(error: BaseException) -> str:
    """The last line of a traceback, which is most often in the file that was to be imported."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename.startswith("<"):  # Python's own import
        return ""
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
