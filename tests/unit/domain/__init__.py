"""Units of the domain."""
