"""Unit tests of the storages."""
