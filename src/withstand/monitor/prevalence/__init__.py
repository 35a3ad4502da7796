"""How much of the traffic violates the policy, from what people said of a sample, and not from what screeners flag."""
