import { SEEK } from "../../ffi/files.ts";
import { OwnedFd } from "../../ffi/handles.ts";
import { SystemError } from "../../ffi/errors.ts";
import type { RemoteLibc } from "./remote_libc.ts";
import { inAgent } from "./remote_machine.ts";
import { DATA_SIZE, OWN_CALL, WINDOW } from "./window.ts";

/** How a program in the machine ended. */
export interface ProgramResult {
  /** Its wait status (`wait(2)`). */
  readonly status: number;
  /** What it wrote to standard output and standard error. */
  readonly output: string;
}

/**
 * Runs a static program in the machine, beside KVM: what a figure measured through the window is compared with.
 *
 * @param program Its file.
 * @param args Its arguments, its name first.
 * @throws {SystemError} When the machine has no room for it.
 */
export function runProgram(
  remote: RemoteLibc,
  program: Uint8Array<ArrayBuffer>,
  args: readonly string[],
): ProgramResult {
  using files = new DisposableStack();
  const { libc, machine } = remote;
  const [file, output] = ["program", "output"].map((name) =>
    files.use(new OwnedFd(libc, libc.memfd_create(name, 0), name)).number
  );
  for (let at = 0; at < program.length;) {
    const written = libc.write(file, program.subarray(at, at + DATA_SIZE));
    if (written < 0) throw new SystemError("write", libc.errno(), "a program for the machine");
    at += written;
  }
  const vector = new BigUint64Array(args.length + 1);
  let at = WINDOW.data + vector.byteLength;
  for (const [index, arg] of args.entries()) {
    const bytes = new TextEncoder().encode(`${arg}\0`);
    vector[index] = BigInt(inAgent(at));
    machine.head.set(bytes, at);
    at += bytes.length;
  }
  machine.head.set(new Uint8Array(vector.buffer), WINDOW.data);
  const numbers = [remote.numberOf(file), remote.numberOf(output)] as const;
  const call = machine.add(OWN_CALL.execute, ...numbers, inAgent(WINDOW.data));
  machine.send(Infinity);
  const status = machine.result(call);
  const said = new Uint8Array(libc.lseek(output, 0, SEEK.END));
  libc.pread(output, said, 0);
  return { status, output: new TextDecoder().decode(said) };
}
