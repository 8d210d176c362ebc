import { NestedError } from "../nested_error.ts";
import type { Qmp } from "./qmp.ts";
import { shellQuote } from "../shell_quote.ts";

const POLL_MILLISECONDS = 10;

/** Leaves memory that is a shared file where it is, so that only the state of processors and devices is moved. */
async function leaveMemory(qmp: Qmp): Promise<void> {
  const capabilities = [{ capability: "x-ignore-shared", state: true }];
  await qmp.execute("migrate-set-capabilities", { capabilities });
}

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
}

/**
 * Writes the state of a running machine's processors and devices to a file, and leaves the machine stopped.
 *
 * @param qmp its monitor
 * @param state the file
 * @throws {NestedError} when QEMU cannot
 */
export async function saveState(qmp: Qmp, state: string): Promise<void> {
  await leaveMemory(qmp);
  const part = `${state}.part`;
  // The shell renames it at the end, because QEMU calls the migration completed before all of it is written.
  const save = `cat > ${shellQuote(part)} && mv ${shellQuote(part)} ${shellQuote(state)}`;
  await qmp.execute("migrate", { uri: `exec:${save}` });
  while (true) {
    const { status, "error-desc": reason } = await qmp.execute("query-migrate");
    if (status === "failed" || status === "cancelled") {
      throw new NestedError(`QEMU could not save the machine: ${reason ?? status}`);
    }
    const written = await Deno.stat(state).then(() => true, () => false);
    if (status === "completed" && written) return;
    await pause();
  }
}
