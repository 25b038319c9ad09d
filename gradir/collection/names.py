"""Which public names an object has: re-exports followed through `import` statements, members through base classes."""

from __future__ import annotations

from collections.abc import Iterator

from gradir.collection.sources import Module, Source

_SHORT = {"np": "numpy", "pd": "pandas", "sp": "scipy", "nn": "torch.nn", "F": "torch.nn.functional"}


class Names:
    """The names of the objects of one library.

    Args:
        modules: Its parsed source files.
    """

    def __init__(self, modules: list[Module]):
        self._modules = {module.name: module for module in modules}
        self._places = {source.path for module in modules for source in module.sources}
        self._attached: dict[str, set[str]] = {}
        for module in modules:
            for source in module.sources:
                if source.qualname:
                    self._attached.setdefault(source.module, set()).add(source.qualname.split(".")[0])
        self._memo: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._public = self._public_names()
        self._heirs = self._public_heirs()

    def public(self, source: Source) -> str | None:
        """The shortest public name of an object; None if it has none."""
        if not source.qualname:
            return source.module if _is_public(source.module) else None
        top, dot, rest = source.qualname.partition(".")
        if any(part.startswith("_") for part in rest.split(".")):
            return None
        owners = self._public.get((source.module, top), [])[:1]
        heir, place = self._heirs.get((source.module, top), ("", ""))
        # a method that users meet in a subclass, such as NDFrame.head in Series.head
        if dot and heir and f"{place}.{rest}" not in self._places:
            owners = [*owners, heir]
        return min(owners, key=lambda name: name.count(".")) + dot + rest if owners else None

    def find(self, name: str, near: str) -> str | None:
        """The place of definition of a name as written in a docstring.

        Args:
            name: `numpy.sum`, `DataFrame.sum`, `sum`.
            near: Public name of the object whose docstring it is: names are relative to its class and packages.
        """
        head, _, tail = name.partition(".")
        name = ".".join(part for part in (_SHORT.get(head, head), tail) if part)
        parts = near.split(".")
        scopes = [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]
        for candidate in [*(f"{scope}.{name}" for scope in scopes), name]:
            place = self._place(candidate)
            if place:
                return place
        return None

    def _place(self, dotted: str) -> str | None:
        """The place of definition of an absolute name, or None."""
        parts = dotted.split(".")
        for length in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:length])
            if module in self._modules or module in self._attached:
                found = self._resolve(module, parts[length])
                return self._member(found, parts[length + 1 :]) if found else None
        return dotted if dotted in self._modules else None

    def _member(self, owner: tuple[str, str], rest: list[str], depth: int = 0) -> str | None:
        """A member of a class, inherited ones and those behind accessors included."""
        module, name = owner
        dotted = ".".join([module, name, *rest])
        if dotted in self._places or not rest:
            return dotted
        if module not in self._modules or depth > 8:
            return None
        accessor = self._modules[module].members.get((name, rest[0]))
        found = self._resolve(module, accessor) if accessor and len(rest) > 1 else None
        if found:
            return self._member(found, rest[1:], depth + 1)
        for base in self._modules[module].bases.get(name, []):
            found = self._resolve(module, base.rpartition(".")[2])
            place = self._member(found, rest, depth + 1) if found else None
            if place:
                return place
        return None

    def _resolve(self, module: str, name: str) -> tuple[str, str] | None:
        """(module, name) where a module's name is defined."""
        key = (module, name)
        if key not in self._memo:
            self._memo[key] = None  # ends import cycles
            self._memo[key] = self._follow(module, name)
        return self._memo[key]

    def _follow(self, module: str, name: str) -> tuple[str, str] | None:
        if name in self._attached.get(module, ()):
            return module, name
        here = self._modules.get(module)
        if here is None:
            return None
        if name in here.renamed and here.renamed[name] != name:
            found = self._resolve(module, here.renamed[name])
            if found:
                return found
        if name in here.defined:
            return module, name
        if name in here.imported:
            origin, original = here.imported[name]
            return self._resolve(origin, original) if original else None
        for origin in here.starred:
            if origin in self._modules and self._exports(origin, name):
                found = self._resolve(origin, name)
                if found:
                    return found
        return None

    def _exports(self, module: str, name: str) -> bool:
        exported = self._modules[module].exported
        return name in exported if exported is not None else not name.startswith("_")

    def _public_names(self) -> dict[tuple[str, str], list[str]]:
        """Definition to its public names, the shortest first."""
        found: dict[tuple[str, str], set[str]] = {}
        for module in self._modules.values():
            if not _is_public(module.name):
                continue
            for name in self._offered(module, set()):
                place = self._resolve(module.name, name)
                if place and not name.startswith("_"):
                    found.setdefault(place, set()).add(f"{module.name}.{name}")
        for module in self._modules.values():
            for (owner, attribute), name in module.members.items():  # StringMethods is what users call Series.str
                accessor = self._resolve(module.name, name)
                if accessor and not attribute.startswith("_"):
                    owners = found.get((module.name, owner), set())
                    found.setdefault(accessor, set()).update(f"{public}.{attribute}" for public in owners)
        return {place: sorted(names, key=_simplicity) for place, names in found.items() if names}

    def _public_heirs(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Base class to the simplest public name, and the place, of a class that inherits from it."""
        heirs: dict[tuple[str, str], tuple[str, str]] = {}
        for (module, name), names in self._public.items():
            pending, seen = [(module, name)], {(module, name)}
            while pending:
                here, owner = pending.pop()
                bases = self._modules[here].bases.get(owner, []) if here in self._modules else []
                for place in (self._resolve(here, base.rpartition(".")[2]) for base in bases):
                    if place and place not in seen:
                        seen.add(place)
                        pending.append(place)
                        heir = (names[0], f"{module}.{name}")
                        heirs[place] = min(heirs.get(place, heir), heir, key=lambda pair: _simplicity(pair[0]))
        return heirs

    def _offered(self, module: Module, seen: set[str]) -> Iterator[str]:
        """The names a public module gives its users: what it defines; for a package also what it imports."""
        seen.add(module.name)
        yield from module.defined
        yield from self._attached.get(module.name, ())
        yield from module.renamed
        yield from module.exported or ()
        if module.is_package:
            yield from module.imported
        if module.is_package or module.exported is None:
            for origin in module.starred:
                if origin in self._modules and origin not in seen:
                    offered = self._offered(self._modules[origin], seen)
                    yield from (name for name in offered if self._exports(origin, name))


def _is_public(dotted: str) -> bool:
    return not any(part.startswith("_") for part in dotted.split("."))


def _simplicity(name: str) -> tuple[int, int, str]:
    return name.count("."), len(name), name
