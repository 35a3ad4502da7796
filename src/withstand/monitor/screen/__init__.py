"""Screening: what judges say of each side of an exchange, in a cascade from the cheap to the dear."""
