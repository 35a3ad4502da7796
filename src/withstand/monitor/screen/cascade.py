"""The cascade after intake: each later screener labels what the one before it passed on, as far as its budget goes.

The random audit stream goes first and is shown to every screener, whatever the stage before said of it: else nobody
would know what the cascade loses. Then comes what was passed on, the highest score first. What a budget leaves out has
no label, and is counted as not screened.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from withstand.core import Verdict, digest, dumps, from_json
from withstand.core.describe import describe
from withstand.core.text import count
from withstand.monitor.screen.labelers import Labeler, labelers_of, score_of
from withstand.monitor.section import Context
from withstand.monitor.traffic import Traffic
from withstand.runner.drive import Job, drive
from withstand.runner.stages import verdict_job
from withstand.runner.tally import Tally
from withstand.store.database import loads
from withstand.store.store import Row, Store

CHUNK = 2_048
"""Exchanges whose labels are saved together: so many a killed run may screen again, from the answers in the store."""
WINDOW = 1_024
"""Exchanges that wait for a model at once: several batches of an encoder."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a screener has used. end: number of the last exchange that was read.   used: exchanges that it was asked
    about since; a budget holds until more are read.   failed: that had an error at the last try.   stopped: why the
    rest was not asked, "" for no reason.   asked: exchanges in all.   tokens, cost (US dollars): of models, in all.
    """

    end: int = 0
    used: int = 0
    failed: int = 0
    stopped: str = ""
    asked: int = 0
    tokens: int = 0
    cost: float = 0.0


def screen(context: Context, on_progress: Callable[[str, int, int], None] = lambda _id, _done, _all: None) -> list[str]:
    """Have the screeners that were not asked while logs were read label what they have not labeled yet: a step.

    on_progress: is given the screener's id, how many exchanges it has seen, and of how many. Returns a line for each
    screener that had something to do.
    """
    labelers = labelers_of(context.settings.screeners, context.policy, context.settings.file)
    lines: list[str] = []
    for labeler in labelers:
        if not labeler.at_intake:
            total = waits_for(context, labeler, labelers)
            lines += _Pass(context.traffic, context.store, labeler, on_progress).run(total)
    return lines


WAITING = """
CREATE OR REPLACE TEMP TABLE waiting AS
WITH earlier AS (SELECT coalesce(max(seq), 0) AS seq FROM label WHERE labeler = $id AND version <> $version),
passed AS (
    SELECT seq, max(score) AS score FROM label l JOIN (SELECT unnest($before) AS labeler, unnest($least) AS least) b
        USING (labeler) WHERE score >= least AND chosen <> 'audit' GROUP BY seq
    UNION ALL SELECT seq, 0.0 FROM unscored WHERE list_contains($before, labeler) AND kind = 'unscored'
    UNION ALL SELECT e.seq, 0.0 FROM exchange e, (
        SELECT labeler, min(seq) AS first FROM label WHERE list_contains($rules, labeler) GROUP BY labeler
    ) b WHERE e.seq >= b.first AND NOT EXISTS (SELECT 1 FROM label l WHERE l.seq = e.seq AND l.labeler = b.labeler)
),
reason AS (SELECT seq, max(score) AS score FROM passed GROUP BY seq)
SELECT row_number() OVER (ORDER BY e.audit < $rate DESC, coalesce(r.score, 0) DESC, e.seq) AS place, e.seq,
    CASE WHEN len($before) = 0 AND $budget = 0 THEN 'all' WHEN r.seq IS NULL AND e.audit < $rate THEN 'audit'
        ELSE 'cascade' END AS chosen
FROM exchange e LEFT JOIN reason r USING (seq)
WHERE e.seq > (SELECT seq FROM earlier) AND (len($before) = 0 OR r.seq IS NOT NULL OR e.audit < $rate)
    AND NOT EXISTS (SELECT 1 FROM label l WHERE l.seq = e.seq AND l.labeler = $id)
    AND NOT EXISTS (SELECT 1 FROM unscored u WHERE u.seq = e.seq AND u.labeler = $id)
"""
"""What a screener has to label, in the order in which it is asked. What an earlier stage could not say is passed on
(a rule that saw an exchange at intake and left no label could not).
Exchanges that were read before the screener's version changed keep their labels, and get no new ones: a series is of
one version."""


def waits_for(context: Context, labeler: Labeler, labelers: Iterable[Labeler]) -> int:
    """Make the temporary table of what a screener has still to label; how many exchanges it has. They have no label,
    and are not clean. labelers: all of the monitor's."""
    earlier = [entry for entry in labelers if entry.screener.id in labeler.screener.after]
    values = {
        "id": labeler.screener.id, "version": labeler.version, "before": [entry.screener.id for entry in earlier],
        "least": [min(entry.screener.uncertain, entry.screener.threshold) for entry in earlier],
        "rules": [entry.screener.id for entry in earlier if entry.at_intake],
        "rate": context.settings.keeping.audit_rate, "budget": labeler.screener.budget,
    }  # fmt: skip
    context.traffic.database.execute(WAITING, values)
    [(number,)] = context.traffic.rows("SELECT count(*) FROM waiting")
    return int(number)


def spending(traffic: Traffic, screener: str) -> Spending:
    """What a screener has used so far."""
    return Spending(**loads(traffic.fact(f"screened {screener}", "{}")))


@dataclass
class _Pass:
    """One screener at work on its exchanges."""

    traffic: Traffic
    store: Store
    labeler: Labeler
    on_progress: Callable[[str, int, int], None]

    def run(self, total: int) -> list[str]:
        """Label what waits, as far as the budget goes; what is to be told of it."""
        screener = self.labeler.screener
        [(end,)] = self.traffic.rows("SELECT coalesce(max(seq), 0) FROM exchange")
        past = spending(self.traffic, screener.id)
        used = past.used if past.end == end else 0
        self.spent = Spending(end, used, 0, "", past.asked, past.tokens, past.cost)
        most = min(total, max(0, screener.budget - used)) if screener.budget else total
        done = 0
        self._keep([], [])  # the end of what was read stands, also where nothing waits
        while done < most and not self.spent.stopped:
            size = min(CHUNK, most - done)
            self._chunk(
                self.traffic.rows(
                    """SELECT w.seq, w.chosen, coalesce(e.prompt, ''), coalesce(e.completion, '')
                    FROM waiting w JOIN exchange e USING (seq) WHERE w.place > ? AND w.place <= ? ORDER BY w.place""",
                    [done, done + size],
                )
            )
            done += size
            self.on_progress(screener.id, done, most)
        return self._line(total, done) if total else []

    def _line(self, total: int, done: int) -> list[str]:
        text = f"{self.labeler.screener.id}: screened {done:,} of {count(total, 'exchange')} that waited"
        if done < total:
            why = self.spent.stopped or f"a budget of {self.labeler.screener.budget:,}"
            text += f"; {total - done:,} are not screened ({why})"
        if self.spent.failed:
            text += f"; {self.spent.failed:,} failed and wait for the next run"
        return [text]

    def _chunk(self, exchanges: Sequence[tuple[int, str, str, str]]) -> None:
        reads_prompt = self.labeler.screener.reads == "prompt"
        spoken = [e for e in exchanges if (e[2] if reads_prompt else e[3]).strip()]
        silent = sorted({e[0] for e in exchanges} - {e[0] for e in spoken})
        key = digest(describe(self.labeler.judge))
        jobs = [
            verdict_job(
                self.labeler.judge, key, self.labeler.behavior, self.labeler.completion(prompt, completion), (), False
            )
            for _, _, prompt, completion in spoken
        ]
        rows, tally = _verdicts(self.store, jobs)
        kept = [(e[0], e[1], rows[job.keys[0]]) for e, job in zip(spoken, jobs, strict=True) if job.keys[0] in rows]
        spent, asked = self.spent, len(kept) + tally.failed
        self.spent = Spending(
            spent.end, spent.used + asked, spent.failed + tally.failed, tally.stopped, spent.asked + asked,
            spent.tokens + tally.tokens, spent.cost + tally.cost,
        )  # fmt: skip
        self._keep(kept, silent)

    def _keep(self, kept: Sequence[tuple[int, str, Row]], silent: Sequence[int]) -> None:
        """Save labels and what was used for them, together."""
        screener = self.labeler.screener
        scored = [(seq, chosen, score_of(_verdict(row))) for seq, chosen, row in kept]
        flags = self.labeler.flags
        labels = [(seq, chosen, score) for seq, chosen, score in scored if score is not None]
        open_ones = [seq for seq, _, score in scored if score is None]
        with self.traffic.transaction():
            if labels:
                seqs, chosen, scores = (list(column) for column in zip(*labels, strict=True))
                self.traffic.database.execute(
                    """INSERT INTO label SELECT unnest(?::BIGINT[]), ?, ?, unnest(?::DOUBLE[]), unnest(?::BOOLEAN[]),
                    ?, ?, ?, unnest(?::VARCHAR[])""",
                    [
                        seqs, screener.category, screener.reads, scores, [flags(score) for score in scores],
                        screener.id, self.labeler.version, self.labeler.stage, chosen,
                    ],
                )  # fmt: skip
            add_unscored(self.traffic, self.labeler, open_ones, "unscored")
            add_unscored(self.traffic, self.labeler, silent, "no text")
            self.traffic.set_fact(f"screened {screener.id}", dumps(asdict(self.spent)))


def add_unscored(traffic: Traffic, labeler: Labeler, seqs: Sequence[int], kind: str) -> None:
    """Note exchanges of which a screener could not say anything."""
    if seqs:
        traffic.database.execute(
            "INSERT INTO unscored SELECT unnest(?::BIGINT[]), ?, ?, ?",
            [list(seqs), labeler.screener.id, labeler.version, kind],
        )


def _verdicts(store: Store, jobs: Sequence[Job]) -> tuple[dict[str, Row], Tally]:
    """The verdicts by their keys, without those that failed. Equal texts are asked about once, here and ever."""
    wanted = {job.keys[0]: job for job in jobs}
    have = store.have(wanted)
    tally = Tally()
    drive([job for key, job in wanted.items() if key not in have], store, tally, window=WINDOW)
    return store.reused(wanted), tally


def _verdict(row: Row) -> Verdict:
    verdict: Verdict = from_json(Verdict, row.value)
    return verdict
