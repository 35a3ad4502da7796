"""Red teams of people: a policy that names harms, a plan, coverage, findings, and their report."""
