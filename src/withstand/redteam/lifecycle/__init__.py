"""Gates of a life cycle, and pilots."""
