"""The owner: the one task that decides, and the parts that it decides by.

Read `owner` first, then a command such as `commands.move`. Public: nothing.
"""
