"""Programs that a test starts, because they are sent signals."""
