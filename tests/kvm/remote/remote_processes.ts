/** Processes of emulated machines, for tests of what is left of them. */

/** The process ids of the machines whose supervisor is a child of a process, and of the supervisors. */
export function machinesOf(parent: number): { supervisor: number; machine: number }[] {
  return childrenOf(parent).filter((pid) => commandOf(pid).startsWith("sh\0-c\0"))
    .flatMap((supervisor) => childrenOf(supervisor).map((machine) => ({ supervisor, machine })))
    .filter(({ machine }) => commandOf(machine).includes("qemu-system"));
}

function childrenOf(parent: number): number[] {
  return [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name))
    .map(({ name }) => Number(name))
    .filter((pid) => statusOf(pid).parent === parent);
}

/** Bytes of memory that a process has in use. */
export function residentSize(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Whether a process is there, and is more than an entry in its parent's list. */
export function isAlive(pid: number): boolean {
  const { state } = statusOf(pid);
  return state !== undefined && state !== "Z";
}

/** Waits until none of some processes is there. */
export async function gone(pids: readonly number[], milliseconds = 5_000): Promise<boolean> {
  for (const end = performance.now() + milliseconds; performance.now() < end;) {
    if (!pids.some(isAlive)) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

function statusOf(pid: number): { state?: string; parent?: number } {
  try {
    const [, state, parent] = /^\d+ \(.*\) (\S) (\d+)/s.exec(
      Deno.readTextFileSync(`/proc/${pid}/stat`),
    )!;
    return { state, parent: Number(parent) };
  } catch {
    return {}; // it has just ended
  }
}

function commandOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`);
  } catch {
    return "";
  }
}
