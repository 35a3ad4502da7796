"""A bundle from a stranger: what was changed in it is seen, who vouches for it is said, and nothing in it is run."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from withstand import api
from withstand.report import bundle

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    spec = {"suite": "kitchen", "limit": 8, "target": "scripted-kitchen", "attack": "story", "benign": "none"}
    run = api.run(spec, store=tmp_path_factory.mktemp("bundle") / "s.db", name="night")
    return bundle.files_of(run.store, run.row, "1")


def forged(files: dict[str, bytes], **changes: bytes) -> dict[str, bytes]:
    """The files with changes, and a manifest that fits them."""
    changed = files | {name.replace("_", "."): data for name, data in changes.items()}
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {n: hashlib.sha256(d).hexdigest() for n, d in changed.items() if not n.startswith("manifest")}
    return changed | {"manifest.json": json.dumps(manifest).encode()}


def wrong(files: dict[str, bytes]) -> list[str]:
    return [text for _, texts in bundle.verify(files) for text in texts]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_every_flipped_verdict_is_seen(files: dict[str, bytes]) -> None:
    rows = [json.loads(line) for line in files["cases.jsonl"].splitlines()]
    assert wrong(files) == []
    for place, row in enumerate(rows):
        flipped = {**row, "outcome": "failure" if row["outcome"] == "success" else "success"}
        assert wrong(forged(files, cases_jsonl=lines([*rows[:place], flipped, *rows[place + 1 :]])))


def test_two_verdicts_that_change_places_are_seen(files: dict[str, bytes]) -> None:
    """No count and no rate of the cell changes."""
    rows = [json.loads(line) for line in files["cases.jsonl"].splitlines()]
    first = next(row for row in rows if row["outcome"] == "success")
    second = next(row for row in rows if row["outcome"] != "success")
    first["outcome"], second["outcome"] = second["outcome"], first["outcome"]
    assert any("not in the cases" in text for text in wrong(forged(files, cases_jsonl=lines(rows))))


def test_another_worst_case_is_seen(files: dict[str, bytes]) -> None:
    summary = json.loads(files["summary.json"])
    for change in ({"rate": 0.0}, {"interval": [0.0, 0.1]}, {"attacks": {"story": 0}}, {"open": 3}):
        text = json.dumps({**summary, "worst": [{**summary["worst"][0], **change}]}).encode()
        assert any("any attack on scripted-kitchen" in line for line in wrong(forged(files, summary_json=text))), change


def test_a_report_without_its_cases_is_seen(files: dict[str, bytes]) -> None:
    assert "the report shows no case" in wrong(forged(files, report_html=b"<h1>All is well</h1>"))
    assert wrong(forged(files, report_html=b'<script type="x">eJxxxx</script>'))


def test_what_a_bundle_names_is_never_built(withstand: Any, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "canary_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    hostile = {"use": "canary_module:Target", "token_command": f"touch {tmp_path / 'ran'}", "base_url": "@/etc/passwd"}
    summary = json.loads(files["summary.json"])
    summary["run"]["spec"] |= {"target": hostile, "judge": "function:canary_module:judge"}
    spec = b'target = {use = "canary_module:Target"}\njudge = "function:canary_module:judge"\n'
    bundle.write(forged(files, summary_json=json.dumps(summary).encode(), spec_toml=spec), str(tmp_path / "b.zip"))
    assert withstand("bundle", "verify", tmp_path / "b.zip").code == 0
    assert not (tmp_path / "ran").exists()


def test_an_unsigned_bundle_is_said_to_be(withstand: Any, files: dict[str, bytes], tmp_path: Path) -> None:
    bundle.write(files, str(tmp_path / "b.zip"))
    done = withstand("bundle", "verify", tmp_path / "b.zip")
    assert (done.code, "signature: unsigned" in done.out) == (0, True)
    (tmp_path / "signers").write_text("")
    refused = withstand("bundle", "verify", tmp_path / "b.zip", "--signers", tmp_path / "signers")
    assert (refused.code, "signature: unsigned" in refused.out) == (1, True)


@needs_ssh
def test_a_signature_says_who_made_it(withstand: Any, tmp_path: Path) -> None:
    keys = [tmp_path / "ana", tmp_path / "eve"]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"ana@bakery {(tmp_path / 'ana.pub').read_text()}")
    place = ("--store", tmp_path / "s.db")
    run = ("run", "--suite", "kitchen", "--limit", "2", "--target", "scripted-kitchen", "--attack", "story")
    assert withstand(*run, "--name", "night", *place).code == 0
    for key in keys:
        assert withstand("bundle", "night", *place, "-o", tmp_path / f"{key.name}.zip", "--sign", key).code == 0
    done = withstand("bundle", "verify", tmp_path / "ana.zip", "--signers", signers, "--json")
    assert done.code == 0
    assert json.loads(done.out)["signature"]["signer"] == "ana@bakery"
    assert "signature: good, by ED25519 key SHA256:" in withstand("bundle", "verify", tmp_path / "eve.zip").out
    refused = withstand("bundle", "verify", tmp_path / "eve.zip", "--signers", signers)
    assert (refused.code, "does not allow its key" in refused.out) == (1, True)
    changed = forged(bundle.read(str(tmp_path / "ana.zip")), spec_toml=b"")
    bundle.write(changed, str(tmp_path / "changed.zip"))
    forgery = withstand("bundle", "verify", tmp_path / "changed.zip", "--signers", signers)
    assert (forgery.code, "signature: WRONG" in forgery.out) == (1, True)


@needs_ssh
def test_a_key_that_does_not_sign_is_refused(withstand: Any, tmp_path: Path) -> None:
    place = ("--store", tmp_path / "s.db")
    run = ("run", "--suite", "kitchen", "--limit", "1", "--target", "scripted-kitchen", "--attack", "direct")
    assert withstand(*run, "--name", "night", *place).code == 0
    (tmp_path / "key").write_text("no key")
    for key in ("key", "none"):
        done = withstand("bundle", "night", *place, "-o", tmp_path / "b.zip", "--sign", tmp_path / key)
        assert (done.code, "hint" in done.err or "->" in done.err) == (2, True)
        assert not (tmp_path / "b.zip").exists()
