/** Names of the virtio ports between a nested machine and its host. */
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
 * `run SECONDS NANOSECONDS`. All before that line is in the snapshot, all after it happens in each run.
 */
export const INIT_SCRIPT: string = `#!/bin/busybox sh
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
keep || die "KVM makes no VM"

tries=0
while [ ! -e /dev/vmexit-files ]; do
  for port in /sys/class/virtio-ports/*; do
    name=$(cat "$port/name" 2>/dev/null) && [ -n "$name" ] && ln -sf "/dev/\${port##*/}" "/dev/vmexit-$name"
  done
  tries=$((tries + 1))
  [ $tries -lt 500 ] || die "the ports to the host are missing"
  usleep 10000
done
exec 3<>/dev/vmexit-control 4>/dev/vmexit-stdout 5>/dev/vmexit-stderr 6>/dev/vmexit-files

cd /tmp
echo 'Deno.test("warm", () => {});' > warm_test.js
deno test --allow-all --no-lock warm_test.js > warm.log 2>&1 || { cat warm.log > /dev/console; die "deno does not run"; }
nasm -v > /dev/null || die "nasm does not run"
rm -rf /tmp/* /tmp/.[!.]*
sync
echo ${READY} >&3

read -r word seconds nanoseconds <&3
[ "$word" = run ] || die "the host sent no command"
# What was read of the disk before the snapshot was another disk.
blockdev --flushbufs /dev/vda
mount -t ext4 -o noatime,noinit_itable /dev/vda ${JOB_FOLDER} || die "cannot mount the disk"
wake "$seconds" "$nanoseconds" < ${JOB_FOLDER}/seed || die "cannot set the clock"
. ${JOB_FOLDER}/script
sleep 3600
`;
