"""The benchmark: `make bench` times this project against the way people do it.

`__main__.py` lets all arms take turns, each in a process of its own; `arms.py` has one function
an arm; `peers.py` the loops that others would write; `summary.py` makes `results/bench.json`.
`gpu.py` times the source's network on a GPU, into `results/gpu.json`.
"""
