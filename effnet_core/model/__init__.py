"""Backbones by timm name, cut at the frozen boundary, with a new head."""
