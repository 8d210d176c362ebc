/**
 * What the kernel of a nested machine is told. No mitigations and no self-tests, because all is emulated and slow; expedited RCU, because creating and
 * closing a VM waits for it; a panic resets the machine at once, which ends its program. `quiet`, because each character of a message costs.
 */
export const KERNEL_COMMAND_LINE: string = [
  "quiet",
  "console=ttyS0",
  "panic=-1",
  "mitigations=off",
  "nokaslr",
  "cryptomgr.notests",
  "tsc=reliable",
  "rcupdate.rcu_expedited=1",
  "random.trust_cpu=on",
].join(" ");
