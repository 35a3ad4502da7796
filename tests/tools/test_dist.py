"""What `make dist` refuses, on small files made here. The build itself takes a minute and an index: no test."""

import io
import sys
import tarfile
import zipfile

import pytest

import dist

VERSION = "1.2.3"
TRACKED = {
    "pyproject.toml",
    "README.md",
    ".gitignore",
    ".ci/run",
    "src/withstand/__init__.py",
    "src/withstand/py.typed",
}
INFO = "withstand-1.2.3.dist-info"
WHEEL = {
    "withstand/__init__.py", "withstand/py.typed", f"{INFO}/METADATA", f"{INFO}/RECORD", f"{INFO}/entry_points.txt",
    f"{INFO}/licenses/LICENSE",
}  # fmt: skip
TOP = "withstand-1.2.3"
SDIST = {
    f"{TOP}/pyproject.toml", f"{TOP}/README.md", f"{TOP}/src/withstand/__init__.py", f"{TOP}/src/withstand/py.typed",
    f"{TOP}/PKG-INFO", f"{TOP}/.gitignore",
}  # fmt: skip


def test_a_wheel_of_the_tracked_files_passes():
    dist.check_wheel(WHEEL, VERSION, TRACKED)


@pytest.mark.parametrize(
    "stray",
    [
        "notes.txt", "tests/test_x.py", "withstand/notes.txt", "withstand/__pycache__/x.cpython-311.pyc",
        "withstand-1.2.2.dist-info/METADATA",
    ],
)  # fmt: skip
def test_a_stray_file_in_a_wheel_is_refused_by_name(stray):
    with pytest.raises(dist.DistError, match=f"the wheel has stray files: {stray}\n"):
        dist.check_wheel(WHEEL | {stray}, VERSION, TRACKED)


@pytest.mark.parametrize("leftover", ["run.db", ".env", "key.pem", "old.py.orig", "__pycache__/x.txt"])
def test_a_leftover_is_refused_even_where_it_is_committed(leftover):
    with pytest.raises(dist.DistError, match="the wheel has stray files"):
        dist.check_wheel(WHEEL | {f"withstand/{leftover}"}, VERSION, TRACKED | {f"src/withstand/{leftover}"})


@pytest.mark.parametrize("missing", sorted(WHEEL))
def test_a_wheel_that_lacks_a_file_is_refused(missing):
    with pytest.raises(dist.DistError, match=r"lacks files|has no LICENSE"):
        dist.check_wheel(WHEEL - {missing}, VERSION, TRACKED)


def test_an_sdist_has_the_tracked_files_without_dot_files_at_the_top():
    dist.check_sdist(SDIST, VERSION, TRACKED)
    with pytest.raises(dist.DistError, match=r"stray files: \.ci/run"):
        dist.check_sdist(SDIST | {f"{TOP}/.ci/run"}, VERSION, TRACKED)
    with pytest.raises(dist.DistError, match=r"stray files: notes\.txt"):
        dist.check_sdist(SDIST | {f"{TOP}/notes.txt"}, VERSION, TRACKED)
    with pytest.raises(dist.DistError, match=r"files outside withstand-1\.2\.3/: notes\.txt"):
        dist.check_sdist(SDIST | {"notes.txt"}, VERSION, TRACKED)
    with pytest.raises(dist.DistError, match=r"lacks files: README\.md"):
        dist.check_sdist(SDIST - {f"{TOP}/README.md"}, VERSION, TRACKED)


def test_a_file_over_the_limit_is_refused_with_its_largest_members(tmp_path):
    wheel = tmp_path / "withstand-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("withstand/weights.bin", b"w" * 2_500_000)
        archive.writestr("withstand/__init__.py", b"")
    assert dist.check_size(wheel, 3) == pytest.approx(2.5, abs=0.01)
    with pytest.raises(dist.DistError, match=r"has 2\.5 MB; the limit is 2 MB(.|\n)*2\.5 MB  withstand/weights\.bin"):
        dist.check_size(wheel, 2)


def test_the_names_come_from_the_files_themselves(tmp_path):
    wheel, sdist = tmp_path / "x.whl", tmp_path / "x.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.mkdir("withstand")
        archive.writestr("withstand/__init__.py", "pass")
    assert dist.wheel_names(wheel) == {"withstand/__init__.py": 4}
    with tarfile.open(sdist, "w:gz") as archive:
        member = tarfile.TarInfo(f"{TOP}/README.md")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    assert dist.sdist_names(sdist) == {f"{TOP}/README.md": 5}
    with tarfile.open(sdist, "w:gz") as archive:
        link = tarfile.TarInfo(f"{TOP}/data")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(dist.DistError, match="holds links"):
        dist.sdist_names(sdist)


def test_a_tag_must_be_the_version():
    dist.check_tag("", VERSION)
    dist.check_tag("v1.2.3", VERSION)
    with pytest.raises(dist.DistError, match=r"the tag is v1\.2\.4 and the version in pyproject\.toml is 1\.2\.3"):
        dist.check_tag("v1.2.4", VERSION)


def test_the_clean_environment_lends_nothing():
    kept = dist.clean_environment({"PATH": "p", "PYTHONPATH": "src", "WITHSTAND_STORE": "s.db", "VIRTUAL_ENV": ".venv"})
    assert kept.items() >= {"PATH": "p", "PYTHONNOUSERSITE": "1"}.items()
    assert not kept.keys() & {"PYTHONPATH", "WITHSTAND_STORE", "VIRTUAL_ENV"}


def test_a_failed_command_shows_what_it_printed():
    assert dist.run(sys.executable, "-c", "print('fine')") == "fine\n"
    with pytest.raises(dist.DistError, match=r"it broke\n.* failed with exit code 3"):
        dist.run(sys.executable, "-c", "print('it broke'); raise SystemExit(3)")


def test_git_knows_what_belongs_into_the_files():
    assert {"pyproject.toml", "src/withstand/__init__.py", "tools/dist.py"} <= dist.tracked()
