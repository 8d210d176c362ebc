import { fileURLToPath } from "node:url";
import { atCaller } from "../../guest/call_site.ts";
import type { MachineIdentity } from "./identity.ts";
import { writeWhole } from "../../guest/write_whole.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot_file.ts";
import type { MachineState } from "./machine_state.ts";

/** The state in a snapshot, and the machine that it is of. For the machine alone. */
export let contentsOf: (snapshot: Snapshot) => SnapshotContents;

/** What is in a snapshot. */
export interface SnapshotContents {
  /** Whose it is; undefined of one from a file. */
  readonly owner: object | undefined;
  /** What kind of machine it is of, and on what. */
  identity(): MachineIdentity;
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

  /**
   * Writes it to a file, for machines that are booted in the same way: in another process, as long as vmexit, Deno, the
   * kernel and the CPU are the same. The file is there whole, or not at all.
   *
   * Not in it is what cannot be written down: see docs/snapshots.md.
   *
   * @throws {TypeError} When the machine is disposed, a device or a handler has given state that is no plain data, or
   *   `path` is neither a path nor a `file:` URL.
   * @throws {Deno.errors.NotCapable} When the file may not be written (`--allow-write`).
   * @throws {Deno.errors.NotFound | Error} When it cannot be: no such folder, a disk that is full.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, Snapshot } from "@vmexit/vmexit";
   *
   * const start = () => boot(asm`hlt`);
   * const path = Deno.makeTempFileSync();
   * {
   *   using vm = start();
   *   vm.run();
   *   vm.snapshot().save(path);
   * }
   * using vm = start();
   * vm.restore(Snapshot.load(path));
   * console.log(vm.log.total); // 1
   * ```
   */
  save(path: string | URL): void {
    atCaller(this.save, () => {
      const file = pathOf(path, "save");
      const { state, identity } = this.#contents;
      writeWhole(file, encodeSnapshot({ identity: identity(), state }));
    });
  }

  /**
   * Reads one from a file. {@linkcode Machine.restore} takes it for machines that are booted as that was of which it is.
   *
   * @throws {TypeError} When the file is none of {@linkcode Snapshot.save}, or is cut short or damaged, or `path` is neither
   *   a path nor a `file:` URL.
   * @throws {Deno.errors.NotFound | Deno.errors.NotCapable} When it cannot be read (`--allow-read`).
   */
  static load(path: string | URL): Snapshot {
    return atCaller(Snapshot.load, () => {
      const file = pathOf(path, "load");
      const { identity, state } = decodeSnapshot(file, Deno.readFileSync(file));
      return new Snapshot({ owner: undefined, identity: () => identity, state });
    });
  }

  /** How many pages of memory it keeps, of 4 KiB each: those that were not all zeros. */
  get pages(): number {
    return this.#contents.state.memory.contents.reduce((sum, { size }) => sum + size, 0);
  }
}

function pathOf(path: string | URL, verb: "save" | "load"): string {
  if (path instanceof URL && path.protocol === "file:") return fileURLToPath(path);
  if (typeof path === "string" && path !== "") return path;
  throw new TypeError(
    `Cannot ${verb} a snapshot: ${
      path === "" ? "its path is empty" : `${String(path)} is no file of this machine`
    }. Give a path or a file: URL`,
  );
}

/** Whether it is a snapshot: what else is given is refused by name. */
export function isSnapshot(value: unknown): value is Snapshot {
  return value instanceof Snapshot;
}
