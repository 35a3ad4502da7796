"""Audits of a training: the ordinary line before, between and after its stages."""
