"""The session behind both consoles: its events say all, whoever is killed, and nobody writes over anybody."""

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from team_sessions import PLAN, Clock, kitchen
from withstand.core import SpecError, StoreError
from withstand.redteam.console import peers, probing
from withstand.redteam.console import session as session_module
from withstand.redteam.console.marking import Mark
from withstand.redteam.console.probing import Probe, of_layer
from withstand.redteam.console.rules import CapReachedError, OvertakenError
from withstand.redteam.console.session import Session
from withstand.redteam.console.state import Context, State, state_of
from withstand.redteam.plan.hours import IDLE
from withstand.redteam.plan.records import Plan
from withstand.results.exposure import Settings, choose, keep_settings
from withstand.store import attempts, files
from withstand.store import revisions as store_events
from withstand.store.attempts import Attachment
from withstand.store.damage import damage
from withstand.store.merge import merge
from withstand.store.revisions import Event, events
from withstand.store.store import Store

BREAD, SOUP = "How do I bake bread?", "Tell a story in which a cook explains soup."


@pytest.fixture(autouse=True)
def _salt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of the stand-in depend on the key of the ask, and so on the session."""
    numbers = itertools.count()
    monkeypatch.setattr(session_module, "salt", lambda: str(next(numbers)))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return kitchen(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "s.db")) as opened:
        yield opened


def begun(store: Store, plan: Plan, member: str = "m1", clock: Clock | None = None, **context: str) -> Session:
    return Session.begin(store, plan, "r1", member, Context(**{"layer": "base", **context}), clock or Clock())


def probe(plan: Plan, layer: str = "base", judges: tuple[str, ...] = ("kitchen",)) -> Probe:
    return of_layer(plan.layer(layer), {name: name for name in judges})


def test_a_session_is_the_fold_of_its_events(store: Store, plan: Plan) -> None:
    """Conversations branch; an attempt has what plan and session know; what was recorded before it is its parent."""
    session, base = begun(store, plan, feature="menu", persona="guest"), probe(plan)
    first = session.send(BREAD, base)
    assert "I can't help with cooking instructions" in first.answer
    assert [verdict["outcome"] for verdict in first.judged] == ["refused"]
    noted = session.mark(Mark("refused"))
    session.keep_draft("And soup?")
    second = session.send("And soup?", base)
    found = session.mark(Mark("harmful", "recipe", 2, notes="at the second try"))
    assert [turn.role for turn in found.turns] == ["user", "assistant", "user"]
    assert (found.output, found.parent, found.params["temperature"]) == (second.answer, noted.id, 0.0)
    assert (found.layer, found.endpoint, found.target_version, found.mitigations) == ("base", "api", "1", "none")
    assert (found.persona, found.mindset, found.language, found.production) == ("guest", "benign", "es", False)
    assert found.request_id in store.rows([found.request_id])
    session.branch(1)
    edited = session.send(SOUP, base, origin=2)
    assert (edited.parent, session.mark(Mark("ok")).parent) == (1, found.id)
    [*retries] = session.retry(2, base)
    assert [(entry.parent, entry.origin) for entry in retries] == [(1, 3), (1, 3)]
    session.undo()
    assert session.state.head == 1
    session.change(layer="reminded")
    assert (session.state.head, session.state.path()) == (0, ())
    changed = session.mark(Mark("borderline", "new: soup in a story", 1), 3)
    assert (changed.revision, changed.harm) == (2, "new: soup in a story")
    assert [attempt.verdict for attempt in attempts.attempts(store, plan.id)].count("borderline") == 1
    assert {entry.number for entry in session.state.unmarked} == {4, 5}
    assert Session.open(store, plan, session.state.session).state == session.state
    assert damage(store) == ""


def test_what_cannot_be_sent_or_recorded_is_said(store: Store, plan: Plan) -> None:
    session, base = begun(store, plan, member="m2"), probe(plan)
    with pytest.raises(SpecError, match="opted out"):
        session.change(harm="meat")
    with pytest.raises(SpecError, match="user interface"):
        probe(plan, "ui")
    with pytest.raises(SpecError, match="blocked: no key"):
        of_layer(replace(plan.layer("base"), blocked="no key"))
    session.send(BREAD, base)
    with pytest.raises(SpecError, match="another one than now"):
        session.send("And soup?", probe(plan, "reminded"))
    for wrong, match in (
        (Mark("bad"), "no verdict"), (Mark("ok", "recip"), "no active harm"), (Mark("ok", severity=5), "severity is 5"),
        (Mark("harmful", sensitivity="not_stored"), "needs a description"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=match):
            session.mark(wrong)
    strict = kitchen(Path(plan.path).parent, PLAN + '[record]\nrequired = ["harm", "severity", "screenshot"]\n')
    session.plan = strict
    with pytest.raises(SpecError, match="requires harm, severity, screenshot"):
        session.mark(Mark("harmful"))
    session.attach(Attachment("a.png", "0" * 64, "image/png"))
    assert session.mark(Mark("ok", "recipe")).screenshot is not None  # an answer that is fine has no severity
    session.pause()
    with pytest.raises(SpecError, match="on a break"):
        session.send(BREAD, base)


def test_a_converter_keeps_both_texts(store: Store, plan: Plan) -> None:
    session = begun(store, plan)
    turn = session.send(BREAD, probe(plan), "base64").turn
    assert (turn.original, turn.converter) == (BREAD, "base64")
    assert "SG93IGRvIEkgYmFrZSBicmVhZD8=" in turn.text
    with pytest.raises(SpecError, match="writer"):
        session.send(BREAD, probe(plan), "past_tense")


def test_illegal_content_leaves_a_description_alone(store: Store, plan: Plan) -> None:
    """Also where it was recorded before, by somebody else, or in a session that branched from it."""
    session, theirs = begun(store, plan), begun(store, plan, "m2")
    session.keep_draft(BREAD)
    session.send(BREAD, probe(plan))
    session.mark(Mark("borderline", "recipe", notes=BREAD))
    theirs.branch_from(session.state, 1)
    theirs.mark(Mark("ok"))
    kept = session.mark(Mark("harmful", "recipe", 4, "a note", "what it was about", sensitivity="not_stored"))
    assert (kept.turns, kept.output, kept.notes, kept.judged, kept.revision) == ((), "", "", (), 2)
    assert kept.output_description == "what it was about"
    assert session.state.exchanges[0].purged
    assert theirs.refresh().exchanges[0].purged
    by_hand = begun(store, plan, layer="ui")
    by_hand.record_by_hand(BREAD, "I can't help with cooking instructions")
    by_hand.mark(Mark("harmful", description="by hand", sensitivity="not_stored"))
    assert {attempt.output_description for attempt in attempts.attempts(store)} >= {"what it was about", "by hand"}
    store.close()
    held = b"".join(path.read_bytes() for path in Path(store.path).parent.glob("s.db*"))
    assert BREAD.encode() not in held
    assert b"cooking instructions" not in held


def test_a_member_chooses_what_they_read_and_harms_take_turns(store: Store, plan: Plan) -> None:
    keep_settings(store, Settings(daily_cap=30, rotate=2, opt_in=("recipe.meat",)), "adam", 0.0)
    clock, base = Clock(), probe(plan)
    session = begun(store, plan, clock=clock, harm="recipe")
    assert (session.cap, peers.hidden_harms(store, plan, "m1")) == (2, ["meat"])  # of plan and settings the lower cap
    with pytest.raises(SpecError, match="opted out of meat"):
        session.change(harm="meat")
    choose(store, "m1", ["recipe.meat"], 0.0)
    session.change(harm="meat")
    for text, harm in ((BREAD, "meat"), (SOUP, "recipe"), (BREAD, "recipe")):
        assert peers.had_enough(store, plan, "m1") == ""
        session.send(text, base)
        session.mark(Mark("harmful", harm, 1))
    assert (peers.had_enough(store, plan, "m1"), peers.had_enough(store, plan, "m2")) == ("recipe", "")
    assert peers.hidden_harms(store, plan, "m2") == ["meat"]  # who opted out in the plan


def test_exposure_has_a_cap_and_a_break_comes_sooner_after_the_worst(store: Store, plan: Plan) -> None:
    clock = Clock()
    session, base = begun(store, plan, clock=clock), probe(plan)
    session.send(BREAD, base)
    clock.now += 60 * 40
    assert not session.break_due
    session.mark(Mark("harmful", "recipe", 4))
    assert session.break_due
    session.pause()
    clock.now += 500
    session.resume()
    assert not session.break_due
    other = begun(store, plan, "m2", clock)
    other.send(SOUP, base)
    other.mark(Mark("harmful", "recipe", 3))
    session.see(other.state, [1])
    session.see(other.state, [1])
    assert (session.exposure, session.at_cap, other.exposure) == (2, True, 1)
    with pytest.raises(CapReachedError, match="2 severe items"):
        session.send(BREAD, base)
    assert session.mark(Mark("harmful", "recipe", 4), 1).revision == 2  # what is there can be recorded
    clock.now += 86_400
    assert session.exposure == 0
    session.change(harm="meat")
    before = session.state.active
    session.skip("too much today")
    assert (session.state.skipped, session.state.context.harm) == (("meat",), "")
    assert before < 60 * 15 + IDLE + 60  # neither the break nor the day counts as work, a silence as IDLE


def test_two_windows_of_a_session(store: Store, plan: Plan) -> None:
    """The second is told, loses nothing, and goes on; so does an answer that comes late."""
    first, base = begun(store, plan), probe(plan)
    second = Session.open(store, plan, first.state.session, Clock())
    step = second.state.step
    first.keep_draft("half a sen")  # drafts disturb nobody
    second.keep_draft("half a sentence of the second")
    second.note("the other window", "question")
    with pytest.raises(OvertakenError, match="another window"):
        first.new()
    assert first.state == second.state
    first.send(BREAD, base)
    with pytest.raises(OvertakenError):
        second.at(step)
    assert second.state.exchanges[-1].turn.text == BREAD
    second.send("And soup?", base)
    assert [entry.parent for entry in second.state.exchanges] == [0, 1]


def test_a_conversation_of_somebody_else_goes_on_as_a_copy(store: Store, plan: Plan) -> None:
    theirs, ours, base = begun(store, plan), begun(store, plan, "m2"), probe(plan)
    theirs.send(BREAD, base)
    found = theirs.mark(Mark("ok"))
    theirs.send("And soup?", base)
    before = events(store, session=theirs.state.session)
    ours.branch_from(theirs.state, 1)
    ours.send("And stew?", base)
    assert [entry.turn.text for entry in ours.state.path()] == [BREAD, "And stew?"]
    assert ours.mark(Mark("ok")).parent == found.id
    assert [entry.number for entry in ours.state.unmarked] == []
    assert events(store, session=theirs.state.session) == before


def scripted(session: Session, base: Probe) -> None:
    """What a member does; each step is an event or more."""
    session.keep_draft("How do I")
    session.send(BREAD, base)
    session.mark(Mark("refused", "recipe"))
    session.change(feature="menu")
    session.keep_draft(SOUP)


def test_a_kill_at_any_point_loses_nothing(tmp_path: Path, plan: Plan) -> None:
    """SIGKILL before and after each write of the session: it is reopened where its last event left it, and an answer
    that had come is there, as is the attempt of a mark."""
    empty = tmp_path / "empty.db"
    with Store(str(empty)) as store:
        store.select(sql.text("SELECT 1"))
    base = probing.build("no", {"use": "scripted", "rules": [], "reply": "No."})
    with Store(str(shutil.copy(empty, tmp_path / "whole.db"))) as store:
        session = begun(store, plan)
        scripted(session, base)
        whole = session.state
    assert whole.number == 6
    for moment in range(18):  # nine writes
        file = shutil.copy(empty, tmp_path / f"{moment}.db")
        child = os.fork()
        if child == 0:
            die_at(moment)
            with Store(str(file)) as store:
                scripted(begun(store, plan), base)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        with Store(str(file)) as store:
            sessions = {event.session for event in events(store)}
            if not sessions:
                assert moment == 0
                continue
            left = state_of(events(store))
            assert left is not None
            opened = Session.open(store, plan, *sessions, clock=Clock())
            answers = store.select(sql.text('SELECT count(*) FROM "row"'))[0][0]
            assert len(opened.state.exchanges) == answers, moment
            assert len(attempts.attempts(store)) == len(opened.state.marks)
            assert (left.draft.text or left.exchanges) or left.number == 0
            rest(opened, base)
            assert texts(opened.state) == texts(whole), moment


def die_at(moment: int) -> None:
    """Let this process be killed before (even) or after (odd) its write of that number."""
    count, write = -1, Store.write

    def counted(store: Store, items: object, sign: bool = True) -> dict[str, int]:
        nonlocal count
        count += 1
        if moment == 2 * count:
            os.kill(os.getpid(), signal.SIGKILL)
        done = write(store, items, sign)  # type: ignore[arg-type]
        if moment == 2 * count + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Store.write = counted  # type: ignore[method-assign]


def rest(session: Session, base: Probe) -> None:
    """What the member had still to do."""
    if not session.state.exchanges:
        session.send(BREAD, base)
    if not session.state.marks:
        session.mark(Mark("refused", "recipe"))
    session.change(feature="menu")
    session.keep_draft(SOUP)


def texts(state: State) -> object:
    exchanges = [(entry.turn, entry.answer, entry.parent) for entry in state.exchanges]
    return exchanges, [mark.verdict for mark in state.marks.values()], state.draft.text, state.context


def test_a_failed_ask_keeps_the_text(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    session, base = begun(store, plan), probe(plan)

    def fails(*_: object) -> None:
        raise SpecError("no connection")

    monkeypatch.setattr(probing, "ask", fails)
    with pytest.raises(SpecError, match="no connection"):
        session.send(BREAD, base)
    assert (session.state.draft.text, session.state.draft.error) == (BREAD, "no connection")
    monkeypatch.undo()
    session.send(BREAD, base)
    assert session.state.draft.text == ""
    assert len(session.state.exchanges) == 1


def test_a_session_on_either_database(where: str, plan: Plan) -> None:
    """What asks SQL for more than rows: lists, exposure, cells, pictures, and erasing what must not be stored."""
    with Store(where) as store:
        session, base = begun(store, plan), probe(plan)
        session.attach(files.keep(store, b"\x89PNG\r\n\x1a\n"))
        session.send(BREAD, base)
        found = session.mark(Mark("harmful", "recipe", 3))
        session.send(SOUP, base)
        [listed] = peers.sessions(store, plan, "r1", "m1")
        assert (listed.exchanges, listed.recorded, listed.ended, session.exposure) == (2, 1, False, 1)
        assert peers.needs(store, plan, "r1", "m1")
        assert peers.first_context(store, plan, "r1", "m1") == Context("base")
        assert [match.attempt.id for match in peers.similar(store, plan, BREAD, "m2")] == [found.id]
        assert (files.sweep(store), len([*files.folder(store).iterdir()])) == (0, 1)
        session.mark(Mark("harmful", description="what it was", sensitivity="not_stored"), 1)
        assert [entry.purged for entry in session.state.exchanges] == [True, False]
        assert [*files.folder(store).iterdir()] == []
        assert [attempt.output_description for attempt in attempts.attempts(store)] == ["what it was"]
        assert attempts.history(store, found.id)[0].purged
        assert peers.similar(store, plan, BREAD, "m2") == []


def test_a_merge_brings_sessions_with_their_pictures(store: Store, plan: Plan, tmp_path: Path) -> None:
    session = begun(store, plan)
    session.attach(files.keep(store, b"\x89PNG\r\n\x1a\n"))
    session.send(BREAD, probe(plan))
    shot = session.mark(Mark("harmful", "recipe")).screenshot
    files.keep(store, b"GIF89a that nothing names")
    with Store(str(tmp_path / "all.db")) as into:
        merge(store, into)
        assert Session.open(into, plan, session.state.session).state == session.state
        assert shot is not None
        assert [path.name for path in files.folder(into).iterdir()] == [shot.sha256]


def test_a_session_that_somebody_damaged_is_said(store: Store, plan: Plan) -> None:
    """Whoever may write to the store may write steps; none makes a reader loop or end in an internal error."""
    session = begun(store, plan)
    session.send(BREAD, probe(plan))
    turn = next(step.value for step in events(store, kind="turn"))
    for number, (kind, value) in enumerate((
        ("turn", turn | {"parent": 2}), ("turn", turn | {"origin": 9}), ("turn", turn | {"judged": [1]}), ("turn", []),
        ("turn", turn | {"turn": "x"}), ("draft", {"text": {}}), ("move", {"head": "x"}), ("move", 1), ("branch", {}),
        ("branch", {"path": ["x"]}), ("branch", {"path": [{"turn": 1}]}), ("mark", {"attempt": {}, "exchange": 1}),
        ("context", {"x": 1}), ("shot", {}), ("note", {"about": "pair"}), ("skip", {}), ("seen", None), ("begin", {}),
    )):  # fmt: skip
        other = f"S-{number}"
        store_events.add_event(
            store, Event(other, 0, "begin", plan.id, "r1", "m1", 1.0, {"context": {"layer": "base"}})
        )
        store_events.add_event(store, Event(other, 1, kind, plan.id, "r1", "m1", 2.0, value))
        with pytest.raises(StoreError, match="is damaged"):
            Session.open(store, plan, other)
    assert len(peers.sessions(store, plan)) == 19
