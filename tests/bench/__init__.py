"""The benchmarks: ``python -m tests.bench`` prints each figure beside its floor, from one run.

A floor is the least that could be done instead, written out in `tests.bench.floors`. Both sides of
a row are measured in turns, several times, and the best time of each counts, so that whatever else
the machine is doing weighs on both. Figures of different runs can't be compared.
"""
