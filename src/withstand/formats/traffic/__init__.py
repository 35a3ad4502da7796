"""Logs of exchanges with a model, as records: one file for each form of log."""
