#!/usr/bin/env python3
"""Peak memory of the next run of lfsync, in kB: runner and writer together,
over what each had when it started.

    memory.py COMMAND...

Runs COMMAND, which starts the run.  Counted are the private pages of all
mappings but shared ones, and the shared segment between the two once.
(Private_* of smaps_rollup alone would count every page of shared_buffers that
happens to be mapped by one process only.)
"""
import subprocess
import sys
import time


def memory(pid):
    """Private kB outside of shared mappings, and kB of dynamic shared memory."""
    private = segment = 0
    shared = name = ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            field, *rest = line.split()
            if not field.endswith(":"):
                shared = rest[0].endswith("s")
                name = rest[-1]
            elif field in ("Private_Clean:", "Private_Dirty:") and not shared:
                private += int(rest[0])
            elif field == "Rss:" and shared and "/dev/shm/PostgreSQL." in line + name:
                segment += int(rest[0])
    return private, segment


psql = subprocess.Popen(["psql", "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def workers():
    psql.stdin.write("SELECT coalesce((SELECT pid || ' ' || writer_pid FROM lfsync_progress), '');\n")
    psql.stdin.flush()
    return psql.stdout.readline().split()


workers()
command = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
pids = []
while not pids:
    if command.poll() is not None:
        sys.exit("the run was over before it could be watched")
    pids = workers()

start = {}
peak = 0
while command.poll() is None:
    total = largest_segment = 0
    try:
        for pid in pids:
            private, segment = memory(pid)
            total += private - start.setdefault(pid, private)
            largest_segment = max(largest_segment, segment)
    except (FileNotFoundError, ProcessLookupError):
        continue
    peak = max(peak, total + largest_segment)
    time.sleep(0.05)
psql.stdin.close()
print(peak)
sys.exit(command.returncode)
