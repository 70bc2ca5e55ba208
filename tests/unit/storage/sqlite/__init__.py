"""What is special about the SQLite storage; what every storage does is in `tests.conformance`."""
