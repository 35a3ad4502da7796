"""Logs made up for proofs: a kitchen's traffic with what was planted in it, and the truth about it."""
