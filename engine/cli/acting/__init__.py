"""Acting: what the commands share that act on jobs.

::

    ids or filters ──▶ chosen jobs, frozen ──▶ question ──▶ pages of acts ──▶ tally

The choice is made in one state of the place. Each chosen job carries the status that it had then,
its version unless it is running, and, but for a cancellation, the number of its newest attempt; to
be extended also its deadline. An act passes over a job that has another one when its turn comes. So
no job is acted on that nobody has been asked about, and a command that was killed may be
run again.

Public: nothing.
"""
