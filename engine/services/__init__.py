"""Services: the steps of an application, over a repository.

Public: `job_service`.
"""
