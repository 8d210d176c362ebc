import { cString } from "../../ffi/process_calls.ts";
import type { RemoteLibc } from "./remote_libc.ts";
import { inAgent } from "./remote_machine.ts";
import { SYSTEM_CALL, WINDOW } from "./window.ts";

/** What the kernel says of itself, and under which path. */
const FILE_SYSTEMS = [["proc", "/proc"], ["sysfs", "/sys"]] as const;

/** The number of mkdir(2) on x86-64; not among {@linkcode SYSTEM_CALL}, of which the agent is made. */
const MKDIR = 83;

const FOLDER_MODE = 0o555;

/**
 * Gives the machine its `/proc` and `/sys`, which nothing in it needs: what describes it reads them by
 * {@linkcode RemoteLibc.libc}. Where it has them already nothing happens.
 */
export function mountKernelFiles({ machine }: RemoteLibc): void {
  for (const [type, path] of FILE_SYSTEMS) {
    const name = inAgent(WINDOW.data);
    machine.head.set(cString(type), WINDOW.data);
    const folder = inAgent(WINDOW.data + type.length + 1);
    machine.head.set(cString(path), WINDOW.data + type.length + 1);
    machine.add(MKDIR, folder, FOLDER_MODE);
    machine.add(SYSTEM_CALL.mount, name, folder, name);
    machine.send();
  }
}
