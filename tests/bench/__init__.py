"""The benchmarks: ``python -m tests.bench`` prints each figure beside its floor, from one run.

A floor is the least code that could replace the engine; see `tests.bench.floors`. Both sides of a
row are measured in turns, several times, and the best time of each counts: the machine's other load
weighs on both. Figures of different runs can't be compared.
"""
