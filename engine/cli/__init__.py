"""The command line: inspects an engine's file or database, even while engines use it, and acts.

The acts are `retry`, `cancel`, `start`, `answer`, `move`, `extend`, `repeat` and `follow-up`; see
`engine.cli.acting`. `prune` removes ended jobs. All other commands leave the jobs as they are:
`backup` and `copy` make a new place, `rules` may change a rule of follow-ups, and `pause`, `resume`
and `drain` tell engines which jobs to claim, and which gates to run.

::

    python -m engine --help             all commands
    python -m engine list jobs.db       as an example: the jobs, in the order of their creation

It needs no Python of yours: statuses are the texts that are stored, and acts are decided by the
lifecycle that is kept beside the jobs. Results go to the standard
output; hints, errors and progress go to the standard error output.

The exit codes::

    0    all is well
    1    something is damaged
    2    wrong usage, or the beginning of several ids
    3    it can't be read or written, or the copy or the output can't be written
    4    there is no such job, rule, engine or cursor
    5    an act: some jobs refused it, or you did at its question
    10   `wait`: the job has failed
    11   `wait`: it was cancelled
    12   `wait`: its deadline has passed
    13   `wait`: its handler's process has died
    124  `wait`: it has not ended within the timeout
    130  stopped by Ctrl-C
    141  the reader of the output closed it

Public: nothing.
"""

from engine.cli.program import main

__all__ = ["main"]
