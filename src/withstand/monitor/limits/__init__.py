"""What a limit on requests or tokens would have stopped in past traffic, of violating use and of other use."""
