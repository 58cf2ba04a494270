"""Import PyTorch's compiler only when something is compiled.

torchvision imports `torch._dynamo` for one function that is never called here, and every step of
an optimizer imports it to mark where a compiled graph would end. The import takes 1.4 s of CPU
time, a quarter of all imports of a run. In code that is not compiled, the two functions that an
optimizer calls do nothing. `defer` therefore replaces the compiler by a stand-in with these two
functions. Looking up any other name imports the real compiler, which then replaces the stand-in.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NAME, TOOLS = "torch._dynamo", "torch._dynamo.utils"


class Deferred(ModuleType):
    """A stand-in that imports the real module when a name is looked up that it lacks."""

    def __getattr__(self, name: str) -> Any:
        # `inspect` looks up `__file__` of every module, so that does not count as using the
        # compiler. Looking up `__path__` does: it precedes the import of a submodule.
        if name.startswith("__") and (self.__name__, name) != (NAME, "__path__"):
            raise AttributeError(name)
        return getattr(_import(self.__name__), name)


def defer() -> None:
    """Install the stand-in, unless the compiler has been imported already."""
    if NAME in sys.modules:
        return
    compiler, tools = Deferred(NAME), Deferred(TOOLS)
    compiler.__dict__.update(disable=_disable, graph_break=_graph_break)
    tools.__dict__.update(is_compile_supported=_is_compile_supported)
    sys.modules |= {NAME: compiler, TOOLS: tools}
    torch._dynamo = compiler


def deferred() -> bool:
    """Whether the stand-in is installed."""
    return isinstance(sys.modules.get(NAME), Deferred)


def _import(name: str) -> ModuleType:
    if deferred():
        del sys.modules[NAME], sys.modules[TOOLS]
    return importlib.import_module(name)


def _graph_break() -> None:
    """Do nothing: only compiled code has a graph, and then the real compiler is installed."""


def _disable(function: Callable[..., Any], *how: Any, **named: Any) -> Callable[..., Any]:
    """Return a wrapper that calls the function directly as long as nothing is compiled."""

    def call(*args: Any, **options: Any) -> Any:
        if deferred():
            return function(*args, **options)
        return _import(NAME).disable(function, *how, **named)(*args, **options)

    return call


def _is_compile_supported(device: str) -> bool:
    return _import(TOOLS).is_compile_supported(device)
