"""Programs that a test starts, because they fork, are interrupted or end."""
