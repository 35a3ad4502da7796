"""The web pages of `withstand serve`: read the store, write labels, findings and the audit, and ask probes."""
