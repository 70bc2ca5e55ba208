"""The domain: models, errors, lifecycles and other rules, as pure code.

Public: `models`, `exceptions`.
"""
