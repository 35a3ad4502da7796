"""How a filter is audited."""

from dataclasses import dataclass

from withstand.audits.filter.texts import Label


@dataclass(frozen=True, slots=True)
class Settings:
    """text, label, cluster, sliced: columns of the data, see `texts.read`.   limit: texts that are drawn, None for all.
    ratio: of two rates, above 1, up to which they count as alike.   bound: nats a token up to which two changes do.
    swaps: texts of a group that are swapped, at most.   seed: of all draws.
    """

    text: str = ""
    label: Label | None = None
    cluster: str = ""
    sliced: tuple[str, ...] = ()
    limit: int | None = None
    ratio: float = 1.25
    bound: float = 0.05
    swaps: int = 200
    seed: int = 0
