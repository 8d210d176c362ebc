import { emulatedMachine } from "../kvm/remote/kvm_choice.ts";
import { runScenario } from "./demo/run_scenario.ts";
import type { Scenario } from "./demo/scenario.ts";
import { scenarios as guestsOfTheDemo } from "../../guests/demo/scenarios.ts";
import { processor } from "./prepare_kvm.ts";
import { style } from "./demo/style.ts";

/** Exit codes of the demo. */
const MATCHED = 0;
const NOT_MATCHED = 1;
/** As sysexits.h has it. */
const WRONG_USAGE = 64;

const NAME_WIDTH = 18;

/** What the demo takes from its surroundings; tests give it other ones. */
export interface DemoOptions {
  /** The guests there are. */
  readonly scenarios?: readonly Scenario[];
  /** Takes the report, line by line as it comes. */
  readonly write?: (lines: string) => void;
  /** Takes what is wrong with the arguments. */
  readonly writeError?: (lines: string) => void;
  /** Whether the report may have colours. */
  readonly colours?: boolean;
}

/**
 * `vmexit demo [--list] [NAME…]`: boots the example guests, all or those that are named, and prints each exit as it
 * happens, what the guest left, and whether all of it is as it must be.
 *
 * @returns The exit code: 0 where all matched, 1 where something did not, 64 where the arguments are wrong.
 * @throws {HostError | KvmError | AssemblyError} When this host cannot boot a guest.
 */
export async function demo(
  args: readonly string[],
  options: DemoOptions = {},
): Promise<number> {
  const {
    scenarios = guestsOfTheDemo,
    write = (lines) => console.log(lines),
    writeError = (lines) => console.error(lines),
    colours = Deno.stdout.isTerminal() && !Deno.noColor,
  } = options;
  const known = scenarios.map(({ name }) => name);
  const wrong = args.find((each) => each !== "--list" && !known.includes(each));
  if (wrong !== undefined) {
    writeError(
      wrong.startsWith("-")
        ? `Cannot use the option ${wrong}: the demo has only --list. Write vmexit demo [--list] [NAME…].`
        : `Cannot boot "${wrong}": the demo has no guest of that name. It has ${known.join(", ")}.`,
    );
    return WRONG_USAGE;
  }
  if (args.includes("--list")) {
    for (const { name, title } of scenarios) write(`${name.padEnd(NAME_WIDTH)}${title}`);
    return MATCHED;
  }
  const chosen = args.length === 0
    ? scenarios
    : scenarios.filter(({ name }) => args.includes(name));
  const report = { write, style: style(colours) };
  write(`KVM   ${kvmInUse()}\n      ${await processorAndKernel()}`);
  const failed = chosen.filter((scenario) => !runScenario(scenario, report));
  write(`\n${summary(chosen, failed, report.style)}`);
  return failed.length === 0 ? MATCHED : NOT_MATCHED;
}

function summary(
  chosen: readonly Scenario[],
  failed: readonly Scenario[],
  { good, bad }: ReturnType<typeof style>,
): string {
  const guests = `${chosen.length} guest${chosen.length === 1 ? "" : "s"}`;
  if (failed.length === 0) return good(`${guests}: all matched`);
  return bad(
    `${guests}: ${failed.length} did not match: ${failed.map(({ name }) => name).join(", ")}`,
  );
}

/** The environment variable that says, inside an emulated machine, which one it is. */
const NESTED_VARIABLE = "VMEXIT_NESTED";

/** The programs that emulate machines, by the first part of a machine's name. */
const EMULATORS: Readonly<Record<string, string>> = { qemu: "QEMU", bochs: "Bochs" };

/** Which KVM the guests run on, for the head of a report: this machine's, or an emulated machine's. */
export function kvmInUse(
  nested: string | undefined = Deno.env.get(NESTED_VARIABLE) ?? emulatedMachine(),
): string {
  if (!nested) return "this machine's own";
  const emulator = EMULATORS[nested.split("-")[0]] ?? "an emulated machine";
  return `nested in ${emulator} (${nested}): real exits, no real timing`;
}

/** The processor's vendor and the kernel's version, as the process sees them. */
export async function processorAndKernel(): Promise<string> {
  const { vendor } = await processor();
  return `${vendor}, Linux ${Deno.osRelease()}`;
}
