"""Misuse in the wild: what happens in the traffic of a model, whether it grows, and whether a mitigation worked.

`withstand monitor run LOGS` reads logs once into columns (`traffic`), screens them with judges (`screen`), and says
what it saw in sections (`section`), each of which is a question of the reader's. The monitor never asks the target.
After OpenAI's "Lessons learned on language model safety and misuse" (2022).
"""
