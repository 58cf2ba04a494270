"""Inspect a folder of images, and write a study for it that fits this machine."""
