"""In Chromium: a run is started from the form, watched, and its report downloaded."""

from explorer_web import opened, served


def test_a_run_is_started_watched_and_its_report_downloaded(browser, path, tmp_path):
    with served(path, launches=tmp_path / "l") as base:
        tab = opened(browser, base)
        tab.set_default_timeout(180_000)  # of a busy machine: three processes are started
        tab.get_by_role("link", name="New run").click()
        form = tab.locator("form", has=tab.locator("input[name=suite]"))
        for kind, label in (
            ("suite", "kitchen"),
            ("target", "scripted-kitchen"),
            ("attack", "direct"),
            ("attack", "role_play"),
        ):
            form.locator(f"input[name={kind}][value={label}]").check()
        form.get_by_label("behaviors of each suite").fill("6")
        form.get_by_label("name").fill("from a browser")
        form.get_by_role("button", name="Show the plan").click()
        tab.get_by_text("No prompt leaves this machine.").wait_for()
        assert "at most 18 asks to the target" in tab.locator(".lead").first.inner_text()
        tab.get_by_role("button", name="Start").click()
        tab.get_by_role("status").get_by_text("done").wait_for()
        tab.get_by_text("18 of 18").first.wait_for()  # of the page that updates itself
        assert "scored cases broken so far" in tab.locator("#launch").inner_text()
        tab.get_by_role("link", name="The run with its cells").click()
        tab.get_by_role("heading", name="from a browser").wait_for()
        with tab.expect_download() as download:
            tab.get_by_role("link", name="HTML").click()
        assert download.value.suggested_filename == "from-a-browser-report.html"
        report = tmp_path / "report.html"
        download.value.save_as(report)
        assert "role_play" in report.read_text()
        assert tab.messages == []
