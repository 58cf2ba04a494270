"""Every hook into somebody else's program: Jupyter's kernels, papermill, Sphinx."""
