"""What ``python -m tests.bench --against REV`` measures: each scenario in a process of its own.

``python -m tests.bench.scenarios`` prints their names, and with a name and a scale of 1 or less the
cost of one operation, as JSON.

A revision is measured by its own scenarios, or by the present ones if it has none. So they import
the exports of `engine` and each other, and nothing else of this project. A scenario that comes to
measure something else gets another name.
"""
