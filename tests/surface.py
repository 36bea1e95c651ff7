"""What the package makes public, as its tests see it."""

import importlib
import pkgutil

import flowcal


def public_modules():
    """Names that each module makes public by its `__all__`, by the module's full name.

    A package with an `__all__` of its own stands for all modules in it.
    """
    names = [module.name for module in pkgutil.walk_packages(flowcal.__path__, "flowcal.") if module.name != MAIN]
    modules = {name: importlib.import_module(name) for name in names}
    stated = {name: list(module.__all__) for name, module in modules.items() if hasattr(module, "__all__")}
    packages = [name for name in stated if hasattr(modules[name], "__path__")]
    return {name: value for name, value in stated.items() if name.rpartition(".")[0] not in packages}


MAIN = "flowcal.__main__"
