"""Who: accounts by the rate of their flagged requests, by how they behave, and by how they probe refusals."""
