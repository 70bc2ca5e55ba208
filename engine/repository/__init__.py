"""Repositories: a job store's usual names over an engine.

Public: `job_repo`.
"""
