"""People who label are protected: the cap of a day, skips, chosen categories, settings; in runs and in traffic."""

import re
from pathlib import Path
from typing import Any

import withstand
from explorer_web import auth, client, post, run_path, sign_in
from withstand import api
from withstand.results.exposure import Settings, keep_settings, read_settings
from withstand.results.own_labels import own_labels
from withstand.store.draws import read_draws


def set_to(path: Path, **settings: Any) -> None:
    with api.open_store(path, create=False) as store:
        keep_settings(store, Settings(**{"mild": (), **settings}), "adam", 0.0)


def place_of(page: str) -> str:
    match = re.search(r'name="place" value="([0-9]+:[^"]+)"', page)
    return match[1] if match else ""


def test_a_day_of_labeling_ends_at_the_cap_and_only_what_is_mild_goes_on(path: Path) -> None:
    set_to(path, daily_cap=2)
    with client(path) as web:
        label = f"{run_path(web)}/label"
        page = web.get(label).text
        assert "0 severe items today, of at most 2" in page
        unread = post(web, label, label, place=place_of(page), vote="failure")
        assert (unread.status_code, "nobody labels what they have not read" in unread.text) == (400, True)
        post(web, "/reveal", label, show="1")
        votes = []
        for vote in ("failure", "success", "unsure"):
            page = web.get(label).text
            votes.append((re.search(r"(\d) severe items? today", page) or [""])[1])
            post(web, label, label, place=place_of(page), vote=vote)
        assert votes == ["1", "1", "2"]  # what is shown counts until its reader says that it shows no harm
        page = web.get(label).text
        assert ("Go on tomorrow" in page, place_of(page)) == (True, "")
        set_to(path, daily_cap=2, mild=("suite:kitchen",))
        assert place_of(web.get(label).text)


def test_a_skip_leaves_the_sample_random_and_says_so(path: Path) -> None:
    with client(path) as web:
        base = run_path(web)
        label = f"{base}/label"
        post(web, "/reveal", label, show="1")
        first = place_of(web.get(label).text)
        assert post(web, label, label, place=first, vote="skip").status_code == 303
        second = place_of(web.get(label).text)
        assert second != first
        post(web, label, label, place=second, vote="success")
        assert first != place_of(web.get(label).text)
        assert place_of(web.get(f"{label}?skipped=1").text) == first
        run = withstand.load("kitchen", path)
        assert {draw["place"] for draw in read_draws(run.store, run.row.key)} >= {first, second}
        listed = [entry for entries in own_labels(run.store, run.row).values() for entry in entries]
        assert [entry.broken for entry in listed if entry.missing and entry.skipped] == [None]
        page = web.get(f"{base}/calibration").text
        assert "1 of them left to others by who labels" in page
        post(web, label, label, place=first, vote="failure")  # later, or by somebody else
        listed = [entry for entries in own_labels(run.store, run.row).values() for entry in entries]
        assert not any(entry.skipped for entry in listed)


def test_a_person_chooses_what_they_read_and_an_admin_sets_what_holds(path: Path) -> None:
    with client(path, auth()) as web:
        sign_in(web, "vera")
        assert web.get("/labelers").status_code == 403
        sign_in(web, "lea")
        form = {
            "of": "all",
            "daily_cap": "5",
            "rotate": "2",
            "opt_in": "suite:kitchen, desert",
            "mild": "suite:kitchen",
        }
        assert post(web, "/labelers", "/labelers", **form).status_code == 403
        sign_in(web, "adam")
        for wrong in ({"daily_cap": "-1"}, {"rotate": "x"}):
            answer = post(web, "/labelers", "/labelers", **form | wrong)
            assert (answer.status_code, "suite:kitchen, desert" in answer.text) == (400, True)
        assert post(web, "/labelers", "/labelers", **form).status_code == 303
        run_path(web)
        assert "is of desert. If that is misspelled" in web.get("/labelers").text
        sign_in(web, "lea")
        label = f"{run_path(web)}/label"
        with api.open_store(path, create=False) as store:
            assert read_settings(store) == Settings(5, 2, (), ("suite:kitchen",), ("suite:kitchen", "desert"))
        page = web.get(label).text
        assert ("shown only to who chooses them: suite:kitchen" in page, place_of(page)) == (True, "")
        assert post(web, "/labelers", "/labelers", of="me", **{"choose:suite:kitchen": "on"}).status_code == 303
        assert place_of(web.get(label).text)


def test_a_store_that_is_only_read_keeps_nothing(path: Path) -> None:
    with client(path, read_only=True) as web:
        assert "Set it</button>" not in web.get("/labelers").text
        assert post(web, "/labelers", "/labelers", of="me").status_code == 403
