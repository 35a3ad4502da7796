"""The policy that names harms."""
