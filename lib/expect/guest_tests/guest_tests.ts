import type { Machine } from "../../machine/machine.ts";
import { statePage } from "../../machine/report/state_page.ts";
import type { RunOptions } from "../../machine/run/run_options.ts";
import { PORT } from "../../x86/layout.ts";
import { AssertionError } from "../failure_page.ts";
import { GuestReports } from "./guest_reports.ts";
import { type GuestResults, hasTap, readTap } from "./results.ts";

/**
 * Runs a guest that tests itself, to its end, and makes each of its tests a step of the Deno test. Tests report by the
 * macros of `guests/include/guest_test.inc` (NASM) or `guest_test.h` (C), whose assertions are known by file and line,
 * or by TAP or KTAP on the serial line; or by both.
 *
 * It is an error when there is no test, when the guest has not said that it is done (or its plan does not fit), when a
 * test has begun and not ended, and, with the macros, when a test has asserted nothing.
 *
 * @param vm The machine, booted and not run.
 * @param t The context of the Deno test.
 * @returns What the guest printed by `guest_print`.
 * @throws {AssertionError} When there is no result, or they are not all.
 * @throws As {@linkcode Machine.run} does, behind the steps of what had been reported.
 *
 * @example
 * ```ts
 * import { boot, guestTests, Image } from "@vmexit/vmexit";
 *
 * Deno.test("the kernel's own tests", async (t) => {
 *   using vm = boot(Image.elf("../build/kernel-tests.elf"), { mode: "long", timeout: 5000 });
 *   await guestTests(vm, t);
 * });
 * ```
 */
export async function guestTests(
  vm: Machine,
  t: Pick<Deno.TestContext, "step">,
  options: RunOptions = {},
): Promise<string> {
  const reports = new GuestReports(() => vm.exitingCpu);
  const before = vm.hasSerial ? vm.serial.text.length : 0;
  let stopped: { readonly error: unknown } | undefined;
  {
    using _calls = vm.ports.on(PORT.guestReport, {
      name: "guest tests",
      write: () => reports.takeCall(),
    });
    using _records = vm.ports.on(PORT.guestRecord, {
      name: "guest tests",
      write: () => reports.takeRecord(),
    });
    try {
      vm.run(options);
    } catch (error) {
      stopped = { error };
    }
  }
  const text = vm.hasSerial ? vm.serial.text.slice(before) : "";
  const { tests, flaw } = resultsOf(reports, text);
  for (const { name, skipped, failures } of tests) {
    await t.step({
      name: skipped === undefined ? name : `${name} (${skipped})`,
      ignore: skipped !== undefined && failures.length === 0,
      fn: () => {
        if (failures.length > 0) throw new AssertionError(failures.join("\n"), guestTests);
      },
    });
  }
  if (stopped !== undefined) throw stopped.error;
  if (flaw === undefined && tests.length > 0) return reports.output;
  throw new AssertionError(
    `The guest's tests are not all there: ${flaw ?? "it has reported none"}.\n\n${statePage(vm)}`,
    guestTests,
  );
}

function resultsOf(reports: GuestReports, serial: string): GuestResults {
  const all = [
    ...reports.hasReports ? [reports.results()] : [],
    ...hasTap(serial) ? [readTap(serial)] : [],
  ];
  return {
    tests: all.flatMap(({ tests }) => tests),
    flaw: all.find(({ flaw }) => flaw !== undefined)?.flaw,
  };
}
