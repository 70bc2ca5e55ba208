"""Services: an application's operations on a repository.

Public: `job_service`.
"""
