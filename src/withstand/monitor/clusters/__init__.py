"""What is alike in the traffic: templates of many accounts, and clusters of violating and uncovered requests."""
