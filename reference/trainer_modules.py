"""Runs the trainers' own network modules inside a diffusers transformer: the truth for what diffusers can't load.

The trainers' sources are not part of this repository: give the folders of checkouts (ai-toolkit 27a03a9, LyCORIS f49d30d).
Packages that their modules import but never call here (quantisation, progress bars) are replaced by empty ones.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import torch

REAL = ("toolkit.network_mixins", "toolkit.models.lokr", "toolkit.models.DoRA", "toolkit.lora_special", "toolkit.kohya_lora")


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what the trainer imports for work that a forward pass does not do."""

    def find_spec(self, name, path, target=None):
        top = name.split(".")[0]
        if top in ("optimum", "torchao") or (top == "toolkit" and name not in REAL and name not in ("toolkit", "toolkit.models")):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        # Classes that an isinstance asks for: nothing is ever one of them.
        module.__getattr__ = lambda name: type(name, (), {}) if name[:1].isupper() else MagicMock()
        return module

    def exec_module(self, module):
        pass


def ai_toolkit(folder: Path) -> dict:
    """The module of each kind of network in an ai-toolkit checkout."""
    finder = _Empty()
    sys.meta_path.insert(0, finder)
    try:
        for name in ("toolkit", "toolkit.models"):
            module = types.ModuleType(name)
            module.__path__ = [str(folder / name.replace(".", "/"))]
            sys.modules[name] = module
        special = importlib.import_module("toolkit.lora_special")
        return {"lokr": special.LokrModule, "dora": special.DoRAModule, "lora": special.LoRAModule, "full": special.FullModule}
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] in ("optimum", "torchao")]:
            del sys.modules[name]


class Network:
    """What a module asks of its network in a forward pass."""

    is_active, is_merged_in, is_lorm = True, False, False

    def __init__(self, multiplier: float, network_type: str = "lora"):
        self.network_type = network_type
        self.set(multiplier)

    def set(self, multiplier: float) -> None:
        self._multiplier = multiplier
        self.torch_multiplier = torch.tensor([multiplier])


def lycoris(folder: Path) -> dict:
    """Some of the `lycoris.modules` of a LyCORIS checkout."""
    for name in ("lycoris", "lycoris.modules"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    return {name: importlib.import_module(f"lycoris.modules.{name}") for name in ("locon", "loha", "lokr")}


def randomise(module: torch.nn.Module, generator: torch.Generator, gain: float) -> None:
    """Values as after training: the factors random, a magnitude near what it was."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "magnitude" in name or "dora_scale" in name:
                parameter.mul_(1 + 0.3 * torch.rand(parameter.shape, generator=generator))
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)


@contextmanager
def applied(modules: list):
    """The modules act in the network that they were made for."""
    owners = [module.org_module[0] for module in modules]
    for module in modules:
        module.eval()
        module.apply_to()
    try:
        yield
    finally:
        for owner in owners:
            # Another's, over the same module, may have taken it already.
            owner.__dict__.pop("forward", None)
