import type { MachineInside } from "./nested_machine.ts";

/**
 * Names of the ports from a nested machine to its host, in the order of the file descriptors that they have inside,
 * from 3 on.
 */
export const PORTS = ["control", "stdout", "stderr", "files"] as const;

/** One of {@link PORTS}. */
export type Port = typeof PORTS[number];

/** Where the disk with the command and its files is mounted inside. */
export const JOB_FOLDER = "/job";

/** What the machine says on its control port when it can be frozen, or be given its command. */
export const READY = "ready";

/** What it says once the command's disk is mounted. */
export const STARTED = "started";

/** What it says every few seconds while the command runs. */
export const ALIVE = "alive";

/** Directories of the machine's own root, which need no mount to exist. */
export const ROOT_FOLDERS: readonly string[] = [
  "bin",
  "dev",
  "etc",
  "job",
  "modules",
  "proc",
  "sys",
  "tmp",
  "usr",
  "usr/bin",
];

/**
 * `/init` of a nested machine. It loads the modules, makes sure that /dev/kvm and Deno work, says "ready" and waits for
 * `run SECONDS NANOSECONDS`. All before that line is in the image, all after it happens in each run.
 *
 * @param inside What is different in this machine.
 * @returns The shell script.
 */
export function initScript(inside: MachineInside): string {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/tmp TERM=dumb DENO_NO_UPDATE_CHECK=1 NO_COLOR=1
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp /dev/shm
ln -sf /proc/self/fd /dev/fd
# The kernel makes it; a folder of the host's shall be mountable in its place.
rmdir /root
ip link set lo up
echo 1 > /proc/sys/vm/overcommit_memory

die() { echo "vmexit: $*" > /dev/console; sync; echo o > /proc/sysrq-trigger; sleep 60; }

for module in /modules/*.ko; do insmod "$module" || die "cannot load $module"; done
rm -rf /modules
[ -c /dev/kvm ] || die "the kernel made no /dev/kvm"
keep < /dev/null > /dev/null 2>&1 || die "KVM makes no VM"

${inside.openPorts.trim()}

cd /tmp
echo 'Deno.test("warm", () => {});' > warm_test.js
deno test --allow-all --no-lock warm_test.js > warm.log 2>&1 || { cat warm.log > /dev/console; die "deno does not run"; }
nasm -v > /dev/null || die "nasm does not run"
rm -rf /tmp/* /tmp/.[!.]*
sync
${inside.keepState.trim()}
echo ${READY} >&3

${inside.awaitWord.trim()}
[ "$word" = run ] || die "the host sent no command"
# What was read of the disk before the machine's state was kept was another disk.
blockdev --flushbufs ${inside.disk}
mount -t ext4 -o noatime,noinit_itable ${inside.disk} ${JOB_FOLDER} || die "cannot mount the disk"
wake "$seconds" "$nanoseconds" < ${JOB_FOLDER}/seed || die "cannot set the clock"
. ${JOB_FOLDER}/script
sleep 3600
`;
}
