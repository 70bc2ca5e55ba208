"""Commands: one file each, with the message, the check of the caller's arguments and the decision.

A facade checks a call's arguments in the caller's own task or thread and sends the message; the
owner calls ``decide`` of a write, with the batch of its round, or ``read`` of a read. To add a
command, add a file here, a call to each facade, and tests. Public: nothing.
"""
