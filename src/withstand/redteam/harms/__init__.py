"""The living list of harms, and what measures them."""
