"""The report of a red team, and its linter."""
