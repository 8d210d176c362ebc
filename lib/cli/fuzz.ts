import { parseArgs } from "node:util";
import { FUZZ_REPORT_VARIABLE, FUZZ_VARIABLE } from "../fuzz/fuzz.ts";
import { chosenKvm } from "../kvm/remote/kvm_choice.ts";
import type { CommandContext } from "./command_context.ts";
import { testCommand } from "./test_command.ts";

/** No test hunted: it must not look like one that found nothing. */
const NOTHING_TRIED_EXIT_CODE = 1;

const DEFAULT_SECONDS = "60";

/**
 * `vmexit fuzz FILE …`: runs tests, in which `fuzz()` looks for inputs that fail.
 *
 * @param args Files of tests, and how long to try.
 * @param context Who hears of it, what ends it.
 * @returns The exit code of `deno test`.
 * @throws {TypeError | RangeError} When the command line is wrong.
 */
export async function fuzzCommand(
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { values: { runs, time, seed, filter }, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      runs: { type: "string" },
      time: { type: "string" },
      seed: { type: "string", default: "0" },
      filter: { type: "string" },
    },
  });
  if (positionals.length === 0) {
    throw new TypeError("Cannot fuzz nothing: name a file of tests that call fuzz()");
  }
  if (chosenKvm().kvm === "bochs-vmx") {
    throw new TypeError(
      "Cannot fuzz on bochs-vmx: its tests run inside the machine, which has no corpus. Leave out VMEXIT_KVM.",
    );
  }
  const limits = runs === undefined
    ? { time: time ?? DEFAULT_SECONDS }
    : { runs, ...time && { time } };
  for (const [name, value] of Object.entries({ ...limits, seed })) {
    if (/^\d+$/.test(value) && (name === "seed" || Number(value) > 0)) continue;
    throw new RangeError(`Cannot fuzz with --${name} ${value}: give a whole number`);
  }
  const words = Object.entries({ ...limits, seed }).map(([name, value]) => `${name}=${value}`);
  Deno.env.set(FUZZ_VARIABLE, words.join(" "));
  const chosen = filter === undefined ? [] : ["--filter", filter];
  const report = await Deno.makeTempFile({ prefix: "vmexit-fuzz-" });
  try {
    Deno.env.set(FUZZ_REPORT_VARIABLE, report);
    const code = await testCommand([...chosen, ...positionals], context);
    const hunts = (await Deno.readTextFile(report)).trimEnd();
    if (hunts !== "") { for (const hunt of hunts.split("\n")) console.log(`vmexit fuzz: ${hunt}`); }
    else context.progress.note("no test has called fuzz(): nothing was tried");
    return hunts === "" && code === 0 ? NOTHING_TRIED_EXIT_CODE : code;
  } finally {
    await Deno.remove(report);
  }
}
