"""Units: the folders mirror the package."""
