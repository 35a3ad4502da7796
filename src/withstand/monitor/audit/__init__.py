"""Audits: exchanges that people label, drawn at random or by score, so that rates need not trust a screener."""
