import type { MachineState } from "./machine_state.ts";

/** The state in a snapshot, and the machine that it is of. For the machine alone. */
export let contentsOf: (snapshot: Snapshot) => SnapshotContents;

/** What is in a snapshot. */
export interface SnapshotContents {
  /** What identifies the machine. */
  readonly owner: object;
  /** Its state then. */
  readonly state: MachineState;
}

/**
 * A machine as it was at some time: {@linkcode Machine.snapshot} takes one, and {@linkcode Machine.restore} makes the
 * machine what it was then. It keeps the pages of memory that were not all zeros, those that did not change in between
 * together with the snapshots before it.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov dx, 0x60
 *   in  al, dx
 *   inc al
 *   hlt
 * `);
 * let key = 0;
 * vm.ports.on(0x60, { read: () => key });
 * const start = vm.snapshot();
 * for (key = 1; key <= 3; key++) {
 *   vm.restore(start);
 *   vm.run();
 *   console.log(vm.registers.al); // 2, 3, 4
 * }
 * ```
 */
export class Snapshot {
  readonly #contents: SnapshotContents;

  static {
    contentsOf = (snapshot) => snapshot.#contents;
  }

  /** Use {@linkcode Machine.snapshot}. */
  constructor(contents: SnapshotContents) {
    this.#contents = contents;
  }

  /** How many pages of memory it keeps, of 4 KiB each: those that were not all zeros. */
  get pages(): number {
    return this.#contents.state.memory.contents.reduce((sum, { size }) => sum + size, 0);
  }
}

/** Whether it is a snapshot: what else is given is refused by name. */
export function isSnapshot(value: unknown): value is Snapshot {
  return value instanceof Snapshot;
}
