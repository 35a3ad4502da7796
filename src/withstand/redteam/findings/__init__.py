"""Findings as records that last: triage, sheets, rows, regression."""
