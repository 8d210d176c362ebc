import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { Listener } from "../../ffi/socket.ts";
import { checkTimeout } from "../run/time_limit.ts";
import { GdbSession, type GdbTarget } from "./session.ts";

/** How a machine waits for gdb. */
export interface GdbOptions {
  /** The TCP port of 127.0.0.1 where gdb attaches; 0 for any that is free. Default 1234. */
  readonly port?: number;
  /** How long it waits for gdb, in milliseconds. Default five minutes. */
  readonly timeout?: number;
  /** Called when it waits, with the port. */
  readonly onListening?: (port: number) => void;
  /** Why gdb is wanted: what `monitor failure` says. */
  readonly failure?: string;
}

const OPTIONS: NamesOf<GdbOptions> = {
  port: "value",
  timeout: "value",
  onListening: "value",
  failure: "value",
};

/** The port of QEMU's own stub. */
export const GDB_PORT = 1234;
const DEFAULT_TIMEOUT_MILLISECONDS = 300_000;

/**
 * Has gdb run a machine's guest until it detaches.
 *
 * @throws {RangeError} When it is no port, or nobody attaches in time.
 * @throws {SystemError} When the port is taken.
 */
export function serveGdb(
  { machine, history, interruptWhen }: GdbTarget,
  options: GdbOptions = {},
): void {
  checkOptions("serve gdb", options, OPTIONS);
  const { port = GDB_PORT, timeout = DEFAULT_TIMEOUT_MILLISECONDS, onListening, failure } = options;
  checkTimeout(timeout);
  using listener = Listener.on(port);
  onListening?.(listener.port);
  using connection = listener.accept(timeout);
  if (connection === undefined) {
    throw new RangeError(
      `Cannot serve gdb: nobody attached to 127.0.0.1:${listener.port} within ${timeout} ms. Attach by ` +
        `"target remote :${listener.port}", or give it longer with the option timeout.`,
    );
  }
  using session = new GdbSession({ connection, machine, history, interruptWhen, failure });
  session.run();
}
