import { permittedEnvironment } from "../../guest/cache_folder.ts";
import type { GdbOptions } from "./serve_gdb.ts";

/** The port where a failing test waits for gdb: `vmexit test --gdb NAME` sets it. */
export const GDB_VARIABLE = "VMEXIT_GDB";

/** gdb runs the guest of a failure, which may fail again. */
let isServing = false;

/**
 * Where that is wanted, has a test that is about to fail wait for gdb, at the guest's fault.
 *
 * @param failure What it fails with.
 */
export function debugFailure(failure: string, serve: (options: GdbOptions) => void): void {
  const port = isServing ? undefined : permittedEnvironment(GDB_VARIABLE);
  if (port === undefined) return;
  isServing = true;
  try {
    serve({ port: Number(port), failure });
  } finally {
    isServing = false;
  }
}
