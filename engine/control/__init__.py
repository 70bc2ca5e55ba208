"""The control socket: the door to an open engine for other programs on the same machine.

An engine on a file listens on a Unix socket beside it, ``jobs.db-control``, and carries out
`engine.operations` for whoever may write the file. `engine.control.protocol` has the protocol::

    SocketDesk ─▶ jobs.db-control ─▶ Connection ─▶ EngineDesk ─▶ inbox ─▶ owner

The engine makes the socket when it has the file's lock, so another one at its place is that of a
dead engine. Callers can't disturb the engine: everything that they cause is bounded, and whoever
doesn't keep to the protocol, or doesn't read its answers, is cut. In acts they are named as the
system names them.

Public: nothing.
"""
