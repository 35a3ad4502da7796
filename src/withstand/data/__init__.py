"""Suites: one benchmark a file; each loads its behaviors."""
