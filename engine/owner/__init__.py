"""The owner: the task that decides every message, and its parts.

Read `owner` first, then a command such as `commands.move`. Public: nothing.
"""
