"""Findings sent again to layers and versions."""
