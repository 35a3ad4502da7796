"""The plan of a red team, and who tests what."""
