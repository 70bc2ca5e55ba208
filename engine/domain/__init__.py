"""Models, errors, lifecycles and other rules: pure code, without I/O.

Public: `models`, `exceptions`.
"""
