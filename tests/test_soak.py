"""The soak in small: a run that is killed five times and one whose disk refuses five writes, 500 bad inputs."""

import os
import re
import subprocess
import sys


def test_faults_and_bad_inputs_leave_what_is_right() -> None:
    few = ["--kills", "0", "--kills-at-writes", "5", "--refusals", "5", "--at-once", "5", "--inputs", "500"]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, "-m", "tests.soak", *few], capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+): (\d+); (?:\d+) of \d+ runs ended in the same bytes$", done.stdout, re.MULTILINE))
    assert int(counts["killed_at_writes"]) >= 5 and int(counts["refused_writes"]) >= 5
    assert "bad inputs: 500, each refused or taken within 5 s, nothing half-written" in done.stdout
    for command in ("check", "score", "data", "verdicts"):
        assert re.search(rf"^bad inputs: {command}, refused: \d+$", done.stdout, re.MULTILINE), done.stdout
