"""Audits of a training: ordinary runs before, between and after its stages."""
