"""What may be estimated of attacks: see `stats.breaks`. A file that is read without numpy."""

from typing import Literal, TypeAlias

Statistic: TypeAlias = Literal["mean", "at_k", "any_attack", "all_of_k"]
