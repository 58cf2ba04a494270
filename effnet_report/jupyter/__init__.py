"""All hooks into other programs: Jupyter's kernels, papermill, Sphinx."""
