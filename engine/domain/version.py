"""The version of the package, which every floor may tell.

pyproject.toml reads it here for the distribution, too.
"""

__version__ = "0.1.0"
