"""The section "who": which accounts break the policy more often than is borne, and how they behave."""

from collections.abc import Mapping
from dataclasses import asdict

from withstand.core import Json
from withstand.core.text import count, decimals, percent, whole
from withstand.monitor.accounts.behavior import (
    Automation,
    Newcomers,
    Volume,
    automation,
    first_seen,
    newcomers,
    volumes,
)
from withstand.monitor.accounts.rates import CLEAR, Ranked, Ranking, ranking
from withstand.monitor.prevalence.data import between_people
from withstand.monitor.section import Context, Section, State
from withstand.monitor.settings import Accounts
from withstand.redteam.dates import day_of
from withstand.report.table import Column, Table

SHOWN = 20
TIMES = 5.0
"""From so many times its usual tokens a day on, an account's volume is noted."""
ALONE = " The rates are corrected by the labels of one person alone: without them flags may say otherwise."
ADVICE = (
    "Read flagged exchanges of the first accounts before you act: a flag is a screener's word, not a finding.",
    "Audit some of each account's flagged exchanges; with audits of the random stream the rates are corrected.",
)


def section(context: Context) -> Section:
    """Who breaks the policy, by account."""
    settings, traffic = context.settings.accounts, context.traffic
    unintended = {category.id for category in context.policy.categories.values() if category.intent == "unintended"}
    ranks = ranking(traffic, settings, unintended)
    programs, loud, young = (
        automation(traffic),
        _loud(volumes(traffic, context.now), settings),
        newcomers(traffic, context.now),
    )
    alarms = list(dict.fromkeys(row.account for row in ranks.ranked if row.alarm))
    first = first_seen(traffic, list(dict.fromkeys(row.account for row in ranks.ranked[:SHOWN])))
    alone = bool(ranks.errors) and not between_people(context).n
    state: State = (
        "unknown" if not ranks.tested else "alarm" if alarms else "note" if loud or ranks.few or alone else "calm"
    )
    tables = [_rates(ranks, first), _priors(ranks), _programs(programs[:SHOWN]), _volumes(loud[:SHOWN], settings)]
    return Section(
        "who", "Who breaks the policy?", _answer(ranks, alarms, loud, young, settings) + ALONE * alone, state,
        [table for table in tables if table.rows], advice=ADVICE if alarms else (),
        value=_value(ranks, alarms, programs, loud, young, settings),
    )  # fmt: skip


def name(account: str) -> str:
    """An account as it is shown: the beginning of its keyed hash."""
    return account[:12]


def _loud(listed: list[Volume], settings: Accounts) -> list[Volume]:
    """Accounts above their quota, or far above their own history."""
    quota = settings.tokens_per_hour
    return [
        volume
        for volume in listed
        if (quota and volume.peak > quota)
        or (volume.times is not None and volume.times >= TIMES and volume.requests >= settings.least)
    ]


def _answer(ranks: Ranking, alarms: list[str], loud: list[Volume], young: Newcomers | None, settings: Accounts) -> str:
    if not ranks.priors:
        return "Unknown: no screener of misuse has seen all exchanges, so that no account has a rate."
    if not ranks.tested:
        few = (
            f" {ranks.few:,} of them are above {percent(settings.rate)} as surely as an alarm asks."
            if ranks.few
            else ""
        )
        return f"Unknown: none of {count(ranks.accounts, 'account')} has {settings.least} screened requests.{few}"
    kind = "violating" if ranks.errors else "flagged"
    of = f"{len(alarms):,} of {count(ranks.tested, 'account')} with {settings.least} requests or more"
    verb = "is" if len(alarms) == 1 else "are"
    text = (
        f"{of} {verb} above {percent(settings.rate)} {kind} requests with a posterior chance above "
        f"{percent(settings.certainty)} (false discovery rate {percent(settings.false_share)})"
    )
    if alarms:
        text += f": {', '.join(map(name, alarms[:3]))}{' and others' if len(alarms) > 3 else ''}"
    text += "."
    if ranks.accounts > ranks.tested:
        text += f" {count(ranks.accounts - ranks.tested, 'account')} asked too little for an alarm"
        text += f", {ranks.few:,} of them as surely above it." if ranks.few else "."
    if ranks.nameless:
        text += f" Without an account, and left out: {count(ranks.nameless, 'exchange')}."
    if loud:
        text += f" {count(len(loud), 'account')} asked far more in the last day than usual or than the quota allows."
    if young:
        share = young.requests / young.all_requests if young.all_requests else None
        text += f" {young.accounts:,} of the week's {young.all_accounts:,} accounts are new"
        text += f", with {percent(share)} of its requests."
    return text


def _rates(ranks: Ranking, first: Mapping[str, float]) -> Table:
    columns = [
        Column("account"), Column("screened"), Column("flagged", whole, right=True),
        Column("requests", whole, right=True), Column("expected flags", percent, right=True),
        Column("expected violations", percent, right=True), Column("at least", percent, right=True),
        Column("P(above)", _chance, right=True), Column("q", _chance, right=True), Column("first seen"),
        Column("", lambda alarm: "alarm" if alarm else ""),
    ]  # fmt: skip
    rows = [
        (name(row.account), row.labelers.title, row.flagged, row.requests, row.mean, row.violating, row.low, row.above,
         row.q, _day(first.get(row.account)), row.alarm)
        for row in ranks.ranked[:SHOWN] if row.flagged
    ]  # fmt: skip
    note = (
        "Alarms first, then by the lower bound (95%) of the rate, drawn towards the other accounts' rates: few "
        "requests convict nobody. Flags are the screeners', and their false alarms are in the rates and in what "
        f"accounts are compared with. With {CLEAR} audited exchanges without a violation or more, alarms rest on rates "
        "corrected for the screeners' errors. Harm that nobody intends convicts no account. "
        "Accounts are shown by keyed hash."
    )
    return Table(columns, rows, "Accounts by the rate of flagged requests", note)


def _chance(value: float | None) -> str:
    return (
        "too few"
        if value is None
        else f"{value:.3g}"
        if 1e-4 <= value <= 0.999
        else "<0.0001"
        if value < 0.5
        else ">0.999"
    )


def _day(ts: float | None) -> str:
    return "" if ts is None else day_of(ts)


def _priors(ranks: Ranking) -> Table:
    columns = [
        Column("screened"), Column("accounts", whole, right=True), Column("requests", whole, right=True),
        Column("flagged", percent, right=True), Column("prior"), Column("sensitivity", percent, right=True),
        Column("specificity", percent, right=True), Column("audits", whole, right=True),
    ]  # fmt: skip
    rows = []
    for labelers, prior in ranks.priors.items():
        seen = ranks.errors.get(labelers)
        shape = f"Beta({prior.alpha:.3g}, {prior.beta:.3g}), {prior.method}"
        audits = (seen.sensitivity, seen.specificity, seen.audits) if seen else (None, None, None)
        rows.append((labelers.title, prior.units, prior.trials, prior.hits / prior.trials, shape, *audits))
    note = "What all accounts say of one: the prior of each series, by maximum likelihood. Versions are never mixed."
    return Table(columns, rows, "Priors", note, folded=True)


def _programs(listed: list[Automation]) -> Table:
    share = decimals(2)
    columns = [
        Column("account"), Column("requests", whole, right=True), Column("score", share, right=True),
        Column("regular gaps", share, right=True), Column("few forms", share, right=True),
        Column("repeated", share, right=True), Column("round the clock", share, right=True),
        Column("unusual lengths", share, right=True),
    ]  # fmt: skip
    rows = [
        (name(row.account), row.requests, row.score, row.regular, row.alike, row.repeated, row.awake, row.ratio)
        for row in listed
    ]
    note = (
        "Signs of a program, 0 to 1, without a look at the content. Many programs are welcome: this alone is no alarm."
    )
    return Table(columns, rows, "Automation", note, folded=True)


def _volumes(listed: list[Volume], settings: Accounts) -> Table:
    columns = [
        Column("account"), Column("requests", whole, right=True), Column("tokens", whole, right=True),
        Column("times its usual", decimals(1), right=True), Column("busiest hour", whole, "tokens", right=True),
    ]  # fmt: skip
    rows = [(name(row.account), row.requests, row.tokens, row.times, row.peak) for row in listed]
    quota = f", or above the quota of {settings.tokens_per_hour:,} tokens an hour" if settings.tokens_per_hour else ""
    return Table(
        columns, rows, "Volume of the last 24 hours", f"Accounts at {TIMES:g} times their usual day or more{quota}."
    )


def _value(
    ranks: Ranking, alarms: list[str], programs: list[Automation], loud: list[Volume], young: Newcomers | None,
    settings: Accounts,
) -> Json:  # fmt: skip
    return {
        "settings": asdict(settings), "accounts": ranks.accounts, "tested": ranks.tested, "few": ranks.few,
        "without_account": ranks.nameless,
        "alarms": alarms,
        "ranked": [_row(row) for row in ranks.ranked[:SHOWN] if row.flagged],
        "priors": [{"series": who.title, **asdict(prior)} for who, prior in ranks.priors.items()],
        "errors": [
            {"series": who.title, **{key: getattr(seen, key) for key in ("sensitivity", "specificity", "audits")}}
            for who, seen in ranks.errors.items()
        ],
        "automation": [asdict(row) for row in programs[:SHOWN]],
        "volume": [{**asdict(row), "times": row.times} for row in loud[:SHOWN]],
        "new": asdict(young) if young else None,
    }  # fmt: skip


def _row(row: Ranked) -> Json:
    value = asdict(row)
    del value["labelers"]
    return {**value, "category": row.labelers.category, "side": row.labelers.side, "by": list(row.labelers.names)}
