"""Counts over time, one series for each category, side, labeler and version, and whether they grow."""
