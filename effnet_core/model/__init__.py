"""Backbones by timm name, cut at the frozen boundary, with a new head."""

from effnet_core.model import compiler

# Before timm is imported, which imports torchvision.
compiler.defer()
