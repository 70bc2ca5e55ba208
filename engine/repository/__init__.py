"""Repositories: an engine behind the usual methods of a job repository.

Public: `job_repo`.
"""
