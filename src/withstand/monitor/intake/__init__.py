"""Logs into columns: hashed, redacted, their features made, and written in batches that stand or fall whole."""
