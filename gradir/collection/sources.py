"""The installed sources of the six libraries, parsed: every docstring, and what a module defines and imports.

Nothing is imported: the sources are read with `ast`, so that a collection depends on the text of the libraries alone and
not on the machine (accelerators found, optional packages present).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gradir.collection.attached import Constants, attached_docstrings, static_text
from gradir.errors import MissingDependency

# import name: distribution; in this order, which decides which of several equal texts is kept
LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "transformers": "transformers",
}

NOT_READ = {
    "test code": r"(^|/)(tests?|_testing|_internal|conftest\.py|testing_utils\.py|test_\w+\.py|_\w*test\w*\.py)(/|$)",
    "code of other projects": r"(^|/)(_?externals?|_?vendor(ed)?|third_party|array_api_(compat|extra)|_?uarray|cobyqa|pyprima"
    r"|_?highs\w*|unification|six\.py|_?decorator\.py|_?pep440\.py|_inspect\.py)(/|$)|^pandas/(io/clipboard|util/version)/",
    # numpy.distutils is installed for some Python versions only; the rest is written when a library is built
    "differs between builds": r"^numpy/distutils/|(^|/)(__config__|version|_version|_version_meson)\.py$",
    # private packages of PyTorch whose docstrings are notes among their developers
    "compiler internals": r"^torch/_(inductor|dynamo|export|numpy|refs|prims\w*|decomp|higher_order_ops|logging|lazy)/",
    "generated from another file": r"^transformers/(models/\w+/modular_\w+|utils/dummy_\w+)\.py$",
}


@dataclass(frozen=True)
class Source:
    """One docstring.

    Attributes:
        library: Import name of the library.
        module: Where the object is defined.
        qualname: Its name within the module; empty for the module itself.
        kind: module, class, function or method.
        text: The docstring, dedented.
    """

    library: str
    module: str
    qualname: str
    kind: str
    text: str

    @property
    def path(self) -> str:
        """The dotted name of the place of definition."""
        return f"{self.module}.{self.qualname}" if self.qualname else self.module

    @property
    def name(self) -> str:
        """The object's own name, without module or class."""
        return self.path.rpartition(".")[2]


@dataclass
class Module:
    """What one source file says.

    Attributes:
        name: Dotted name.
        is_package: Whether the file is an `__init__.py`.
        sources: Its docstrings.
        defined: Names defined at the top level.
        imported: Local name to (module, name); the name is empty for an imported module.
        starred: Modules whose public names are imported.
        exported: `__all__` where it is a literal, else None.
        renamed: Local name to the local name that it is another name or an instance of.
        bases: Class to the expressions of its base classes, as written.
        members: (class, attribute) to the class that the attribute gives access to, as written.
    """

    name: str
    is_package: bool
    sources: list[Source] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    starred: list[str] = field(default_factory=list)
    exported: set[str] | None = None
    renamed: dict[str, str] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)
    members: dict[tuple[str, str], str] = field(default_factory=dict)


def folder_of(library: str) -> Path:
    """Where a library is installed; `MissingDependency` if it is not."""
    spec = importlib.util.find_spec(library)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise MissingDependency(LIBRARIES[library], "gradir collection pydocs", "pip install 'gradir[demo]'")
    return Path(places[0])


def versions() -> dict[str, str]:
    """The versions that the collection depends on, without the local part (`+cpu`), which leaves the sources alone."""
    return {library: importlib.metadata.version(name).partition("+")[0] for library, name in LIBRARIES.items()}


def files_of(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """The source files to read, in order of their path, and how many were left out by reason."""
    read, left_out = [], dict.fromkeys(NOT_READ, 0)
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts):
        place = path.relative_to(folder.parent).as_posix()
        reason = next((reason for reason, pattern in NOT_READ.items() if re.search(pattern, place)), None)
        if reason:
            left_out[reason] += 1
        else:
            read.append(path)
    return read, left_out


def parse(path: Path, folder: Path, shared: Constants) -> Module | None:
    """One source file; None if this Python cannot parse it.

    Args:
        path: The file.
        folder: The library's folder.
        shared: Constants of the modules read before, by module; those of this file are added.
    """
    try:
        code = path.read_bytes()
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return None
    parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
    is_package = parts[-1] == "__init__"
    module = Module(".".join(parts[:-1] if is_package else parts), is_package)
    for statement in _statements(tree.body):
        _record(statement, module)
    module.exported = _literal_all(tree, code)
    module.sources = [
        Source(folder.name, module.name, qualname, kind, text)
        for qualname, kind, text in _docstrings(tree, module, shared)
    ]
    for place, text in attached_docstrings(tree, module.name, shared):
        module.sources.append(_attached(folder.name, place, text))
    return module


def _attached(library: str, place: tuple[str, str], text: str) -> Source:
    module, qualname = place
    kind = "method" if "." in qualname else "class" if qualname[:1].isupper() else "function"
    return Source(library, module, qualname, kind, inspect.cleandoc(text))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements at the top level, those behind `if` and `try` included."""
    for statement in body:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                yield from _statements(getattr(statement, block, []))


def _record(statement: ast.stmt, module: Module) -> None:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        module.defined.add(statement.name)
        if isinstance(statement, ast.ClassDef):
            _record_class(statement, module)
    elif isinstance(statement, ast.ImportFrom):
        origin = _absolute(statement, module)
        for alias in statement.names:
            if alias.name == "*":
                module.starred.append(origin)
            else:
                module.imported[alias.asname or alias.name] = (origin, alias.name)
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            module.imported[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0],
                "",
            )
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        value = statement.value
        if isinstance(value, ast.Name):
            module.renamed[statement.targets[0].id] = value.id
        # scipy.stats: `norm = norm_gen(name="norm")` is how a distribution gets its name
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id.endswith("_gen"):
            module.renamed[statement.targets[0].id] = value.func.id


def _record_class(node: ast.ClassDef, module: Module) -> None:
    module.bases[node.name] = [ast.unparse(base) for base in node.bases if isinstance(base, (ast.Name, ast.Attribute))]
    for statement in node.body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            continue
        value = statement.value
        # pandas: `str = Accessor("str", StringMethods)`
        if isinstance(value, ast.Call) and value.args and isinstance(value.args[-1], ast.Name):
            module.members[node.name, statement.targets[0].id] = value.args[-1].id


def _absolute(statement: ast.ImportFrom, module: Module) -> str:
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - statement.level + module.is_package]
    return ".".join([*parts, statement.module] if statement.module else parts)


def _literal_all(tree: ast.Module, code: bytes) -> set[str] | None:
    """`__all__`, where its one assignment is a list of strings and nothing adds to it."""
    if code.count(b"__all__") != 1:
        return None
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            elements = getattr(statement.value, "elts", [None])
            if all(isinstance(element, ast.Constant) for element in elements):
                return {str(element.value) for element in elements}
    return None


def _docstrings(tree: ast.Module, module: Module, shared: Constants) -> Iterator[tuple[str, str, str]]:
    """(qualname, kind, docstring) of the module, its classes, their methods, and its functions."""
    text = ast.get_docstring(tree)
    if text:
        yield "", "module", text
    for statement in _statements(tree.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(statement)
            if text:
                yield statement.name, "function", text
        elif isinstance(statement, ast.ClassDef):
            yield from _class_docstrings(statement, statement.name, module, shared)


def _class_docstrings(
    node: ast.ClassDef, qualname: str, module: Module, shared: Constants
) -> Iterator[tuple[str, str, str]]:
    text = ast.get_docstring(node) or _assigned_docstring(node, module, shared)
    if text:
        yield qualname, "class", text
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(statement)
            if text:
                yield f"{qualname}.{statement.name}", "method", text
        elif isinstance(statement, ast.ClassDef):
            yield from _class_docstrings(statement, f"{qualname}.{statement.name}", module, shared)


def _assigned_docstring(node: ast.ClassDef, module: Module, shared: Constants) -> str | None:
    """`__doc__ = …` in a class, and a first statement that is an expression of strings (torch.nn)."""
    for statement in node.body[:3]:
        value: ast.expr | None = None
        if (isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__doc__") or isinstance(
            statement, ast.Expr
        ):
            value = statement.value
        text = static_text(value, module.name, shared) if value is not None else None
        if text:
            return inspect.cleandoc(text)
    return None
