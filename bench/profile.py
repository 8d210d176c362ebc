"""For gdb, by profile.ts: single-steps a process from one call of ioctl to the next, and counts by function."""

import collections
import os

import gdb

pid = int(os.environ["PROFILED"])
ROUNDS = 3

for command in (
    "set pagination off",
    "set confirm off",
    "handle all nostop noprint pass",
    "handle SIGTRAP stop",
    f"attach {pid}",
):
    gdb.execute(command, to_string=True)
main = next(t for t in gdb.selected_inferior().threads() if t.ptid[1] == pid)
main.switch()
gdb.execute("set scheduler-locking on")
gdb.execute(f"break *ioctl if $esi=={os.environ['PROFILED_REQUEST']}", to_string=True)
gdb.execute("continue", to_string=True)
gdb.execute("delete")

# What V8 has compiled; of what lies at one address, the latest.
compiled = []
with open(f"/tmp/perf-{pid}.map") as lines:
    for line in lines:
        start, size, name = line.rstrip("\n").split(" ", 2)
        compiled.append((int(start, 16), int(start, 16) + int(size, 16), name))
compiled.reverse()


def pc():
    return int(gdb.parse_and_eval("(long)$pc"))


def name_of(address):
    found = next((name for start, end, name in compiled if start <= address < end), None)
    if found is not None:
        return found.split(" file:")[0].removeprefix("JS:").lstrip("*+'") or "the loop that asks"
    symbol = gdb.execute(f"info symbol {address}", to_string=True)
    return "Deno itself" if symbol.startswith("No symbol") else symbol.split()[0]


def one_exit():
    begin, addresses = pc(), []
    while not addresses or addresses[-1] != begin:
        gdb.execute("stepi", to_string=True)
        addresses.append(pc())
    return addresses


# The first may have what is done once in many exits.
addresses = min((one_exit() for _ in range(ROUNDS)), key=len)
names = {address: name_of(address) for address in set(addresses)}
print(f"instructions of one exit: {len(addresses)}")
for name, count in collections.Counter(names[a] for a in addresses).most_common():
    print(f"{count:6}  {name}")
gdb.execute("detach", to_string=True)
