"""Things of one kind by name: those of a folder or a file of the package, and those that a user registers.

    RENDERERS: Registry[Callable[[], Renderer]] = Registry("renderer", "hmrfit.render.backends")

    @RENDERERS.register("mine")          in a file of that folder, or anywhere in a user's own code
    class MyRenderer: ...

    RENDERERS.find("mine")()

The files of the folder are imported when a name is first asked for. Every list of names (a setting's choices, the
command line's, an error message's) is `names()`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from hmrfit.ops.check import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name."""

    def __init__(self, kind: str, module: str) -> None:
        """kind: what an entry is, for messages. module: the folder or file that registers the built-in entries."""
        self._kind, self._module = kind, module
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: the class or function can be found by this name.

        Raises:
            ValueError: another entry has the name.
        """

        def enter(entry: T) -> T:
            if _path_of(self._entries.get(name, entry)) != _path_of(entry):
                raise ValueError(f"The name '{name}' is taken by another {self._kind}. Give yours another name.")
            self._entries[name] = entry
            return entry

        return enter

    def names(self) -> tuple[str, ...]:
        """Of all entries, in alphabetical order."""
        home = importlib.import_module(self._module)
        for file in pkgutil.iter_modules(getattr(home, "__path__", ())):
            importlib.import_module(f"{self._module}.{file.name}")
        return tuple(sorted(self._entries))

    def find(self, name: str) -> T:
        """The entry of a name.

        Raises:
            ValueError: there is none; with the nearest name, and all of them.
        """
        known = self.names()
        if name not in known:
            near = did_you_mean(name, known)
            raise ValueError(f"There is no {self._kind} '{name}'.{near} Known: {', '.join(known)}.")
        return self._entries[name]


def _path_of(entry: object) -> tuple[object, object]:
    """Module and name: equal for a class and its next edition after a reload."""
    return getattr(entry, "__module__", None), getattr(entry, "__qualname__", entry)
