"""The scenarios of ``python -m tests.bench --against REV``, each in a process of its own.

``python -m tests.bench.scenarios`` prints their names; with a name and a scale of 1 or less it
prints the cost of one operation, as JSON.

A revision is measured by its own scenarios, or by the present ones if it has none. So they import
only the exports of `engine` and each other. If a scenario changes what it measures, change its
name, too.
"""
