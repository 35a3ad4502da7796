"""Sessions of probing by hand, as the web and the terminal share them."""
