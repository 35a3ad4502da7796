"""`kill -9` at any point of intake: the same command goes on where it was, nothing is lost, nothing counts twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

from monitored import content, exchange, job, run, screened, write

SALT = "the same salt for all of them"
DRIVER = """
import json, os, random, signal, sys
from pathlib import Path
from monitored import job, rows, run, screened
from withstand.monitor.intake import read
from withstand.monitor.traffic import Traffic

folder, log = Path(sys.argv[1]), sys.argv[2]
read.SIZE, read.ROWS = 2_000, 8
opened = Traffic._open

class Counting:  # a database that ends the process before its n-th query
    def __init__(self, inner, left): self.inner, self.left = inner, left
    def __getattr__(self, name): return getattr(self.inner, name)
    def execute(self, *arguments):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.execute(*arguments)

def attempt(steps):
    def counted(self, read_only):
        opened(self, read_only)
        self.database = Counting(self.database, steps)
    Traffic._open = counted
    run(job(folder, log, settings=screened(folder), salt="the same salt for all of them"))

draw, ends = random.Random(3), []
while 0 not in ends:
    steps = draw.randint(12, 45 + 2 * len(ends))  # more each time: in the end enough, however many a run takes
    child = os.fork()  # of a process that has never opened a database
    if child == 0:
        attempt(steps)
        os._exit(0)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ends))
"""


def test_a_run_that_was_killed_at_random_points_ends_as_one_that_was_not(tmp_path):
    records = [exchange(number, id=f"x{number % 70}") for number in range(90)]
    lines = [*map(json.dumps, records), '{"ts": 1, "acc', "", *map(json.dumps, records[:3])]
    log = write(tmp_path / "a.jsonl", lines)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = run(job(whole, log, settings=screened(whole), salt=SALT))["happened"].value
    assert expected["lines"] == len(lines)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    command = [sys.executable, "-c", DRIVER, str(killed), log]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *deaths, _ = json.loads(done.stdout)
    assert set(deaths) == {-9}
    assert len(deaths) >= 4
    assert content(killed) == content(whole)
    assert run(job(killed, log, settings=screened(killed), salt=SALT))["happened"].value == expected
