import { atCaller } from "../../guest/call_site.ts";
import { modeDefaults } from "../../x86/boot/boot_state.ts";
import type { Mode } from "../../x86/boot/cpu_state.ts";
import { checkNames } from "../../x86/defined_entries.ts";
import { noneOfThatName } from "../../x86/nearest_names.ts";
import type { BootOptions } from "./boot_options.ts";

/** A way to boot, for a test that is run in several modes: {@linkcode modes}. */
export interface ModeCase {
  /** For the test's name: the mode, and what else was asked for: `long, levels 5`. */
  readonly name: string;
  /** The mode. */
  readonly mode: Mode;
  /** How wide its code is. */
  readonly bits: 16 | 32 | 64;
  /** What `boot` is told. */
  readonly options: BootOptions;
}

/** The modes as they are run where none is named. */
const ALL = Object.keys(modeDefaults) as Mode[];

/**
 * One body over several modes: a list for `Deno.test.each`, whose cases have a name for the test and options for
 * `boot`. The include file `guests/include/width.inc` has names for what differs between 16, 32 and 64-bit code
 * (`xax`, `xsp`, `xword`, `xiret`), so that one source serves them all.
 *
 * @param choices Modes, or options for `boot` with a mode. Left out: every mode.
 * @throws {RangeError} When there is no such mode, or the list is empty: nothing would be tested.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, modes, portOut } from "@vmexit/vmexit";
 *
 * Deno.test.each(modes(["real", "protected", { mode: "long", levels: 5 }]))(
 *   "a byte leaves by its port: $name",
 *   ({ options }) => {
 *     using vm = boot(
 *       asm`
 *         mov al, '!'
 *         out 0x80, al
 *         hlt
 *       `,
 *       options,
 *     );
 *     expect(vm).toExit([portOut(0x80, "!"), hlt()]);
 *   },
 * );
 * ```
 */
export function modes(
  choices: readonly (Mode | (BootOptions & { readonly mode: Mode }))[] = ALL,
): ModeCase[] {
  return atCaller(modes, () => casesOf(choices));
}

function casesOf(choices: readonly (Mode | BootOptions)[]): ModeCase[] {
  if (!Array.isArray(choices)) {
    throw new TypeError(`Cannot run over ${String(choices)}: give a list of modes`);
  }
  if (choices.length === 0) {
    throw new RangeError("Cannot run over no mode: name one, or leave the list out for all");
  }
  // Not choices.map, which passes over holes.
  const cases = Array.from(choices, (choice: (typeof choices)[number] | undefined) => {
    const options = typeof choice === "string" ? { mode: choice } as BootOptions : choice;
    checkNames("run over", options as unknown);
    const mode = options.mode as Mode;
    if (!Object.hasOwn(modeDefaults, mode)) {
      throw new RangeError(
        `Cannot run over mode ${JSON.stringify(mode)}: ${noneOfThatName(String(mode), ALL)}`,
      );
    }
    return { name: nameOf(mode, options), mode, bits: modeDefaults[mode].bits, options };
  });
  const twice = cases.find(({ name }, index) =>
    cases.findIndex((each) => each.name === name) < index
  );
  if (twice === undefined) return cases;
  throw new RangeError(
    `Cannot run over ${twice.name} twice: two tests would have one name. Leave one out, or write a test for each.`,
  );
}

/** The mode, and what else can be told in a word. */
function nameOf(mode: Mode, options: BootOptions): string {
  const told = Object.entries(options)
    .filter(([name, value]) =>
      name !== "mode" && ["string", "number", "boolean"].includes(typeof value)
    )
    .map(([name, value]) => `${name} ${value}`);
  return [mode, ...told].join(", ");
}
