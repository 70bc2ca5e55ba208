"""The repository: a job store's usual names over the blocking engine."""
