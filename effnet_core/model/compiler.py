"""Import PyTorch's compiler only when something is compiled.

torchvision imports `torch._dynamo` for one function that is never called here, every step of an
optimizer imports it to mark where a compiled graph would end, and asking for deterministic
algorithms sets an option of `torch._inductor`. The import takes 1.4 s of CPU time, a quarter of all
imports of a run. In code that is not compiled, the two functions that an optimizer calls do
nothing. `defer` therefore replaces the compiler by stand-ins with these two functions and a place
for the option. Looking up any other name imports the real compiler, which then replaces the
stand-ins and gets the option.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NAME, TOOLS = "torch._dynamo", "torch._dynamo.utils"
BACKEND, OPTIONS = "torch._inductor", "torch._inductor.config"
OPTION = "deterministic"


class Deferred(ModuleType):
    """A stand-in that imports the real module when a name is looked up that it lacks."""

    def __getattr__(self, name: str) -> Any:
        # `inspect` looks up `__file__` of every module, so that does not count as using the
        # compiler. Looking up `__path__` does: it precedes the import of a submodule.
        if name.startswith("__") and (name != "__path__" or self.__name__ not in (NAME, BACKEND)):
            raise AttributeError(name)
        return getattr(_import(self.__name__), name)


def defer() -> None:
    """Install the stand-ins, unless the compiler has been imported already."""
    if NAME in sys.modules or BACKEND in sys.modules:
        return
    compiler, tools = Deferred(NAME), Deferred(TOOLS)
    compiler.__dict__.update(disable=_disable, graph_break=_graph_break)
    tools.__dict__.update(is_compile_supported=_is_compile_supported)
    backend = Deferred(BACKEND)
    backend.__dict__["config"] = options = Deferred(OPTIONS)
    sys.modules |= {NAME: compiler, TOOLS: tools, BACKEND: backend, OPTIONS: options}
    torch._dynamo = compiler


def deferred() -> bool:
    """Whether the stand-in is installed."""
    return isinstance(sys.modules.get(NAME), Deferred)


def _import(name: str) -> ModuleType:
    if deferred():
        chosen = vars(sys.modules[OPTIONS]).get(OPTION)
        for stand_in in (NAME, TOOLS, BACKEND, OPTIONS):
            del sys.modules[stand_in]
        if chosen is not None:
            setattr(importlib.import_module(OPTIONS), OPTION, chosen)
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
