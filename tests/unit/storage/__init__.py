"""Units of the storages."""
