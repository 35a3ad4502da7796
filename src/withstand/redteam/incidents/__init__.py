"""Incidents, and what is disclosed of them."""
