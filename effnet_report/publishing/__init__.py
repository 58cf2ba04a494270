"""Publish records; repeat published runs and compare their bits."""
