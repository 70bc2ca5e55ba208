"""Tests that are special to the PostgreSQL storage; `tests.conformance` tests every storage."""
