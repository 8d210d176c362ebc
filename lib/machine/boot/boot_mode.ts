import { AsmSource } from "../../guest/asm_source.ts";
import { Image } from "../../guest/image.ts";
import {
  type Convention,
  conventionDefaults,
  type ModeDefaults,
  modeDefaults,
} from "../../x86/boot/boot_state.ts";
import type { Mode } from "../../x86/boot/cpu_state.ts";
import type { BootOptions, Guest } from "./boot_options.ts";
import { protocolMode } from "./boot_protocol.ts";

/** The mode of a guest that was given none, by how wide its source says that it is. */
const MODE_OF_BITS = { 16: "real", 32: "protected", 64: "long" } as const;

/** The options of long mode that not every convention has, with those that do. */
const OPTIONS_OF_CONVENTIONS: Readonly<Record<string, readonly Convention[]>> = {
  zeroPage: ["linux"],
  bootInformation: ["unikernel"],
  cpuNumber: ["unikernel"],
  ...Object.fromEntries(
    [
      "catchFaults",
      "cpl",
      "gates",
      "gdt",
      "identityMap",
      "idt",
      "levels",
      "pageTables",
      "ioPermission",
      "tss",
    ].map((
      name,
    ) => [name, ["plain", "unikernel"] as const]),
  ),
};

/**
 * The mode in which a guest starts: the one asked for, else the one that its source's `bits` suggest.
 *
 * @throws {TypeError} When it is no guest.
 * @throws {RangeError} When there is no such mode, or the source begins with code of another width.
 */
export function modeOf(guest: Guest, { mode, entry }: BootOptions): Mode {
  if (!(guest instanceof AsmSource || guest instanceof Image)) {
    throw new TypeError(
      `Cannot boot ${typeof guest}: it is no guest. Write asm\`…\`, asm.file(…), Image.open(…) or Image.fromBytes(…).`,
    );
  }
  if (guest instanceof Image && guest.protocol !== undefined) {
    return protocolMode(guest, guest.protocol, mode);
  }
  const bits = guest instanceof Image ? guest.bits : guest.declaredBits;
  const chosen = mode ?? MODE_OF_BITS[bits ?? 16];
  if (Object.hasOwn(modeDefaults, chosen)) {
    // An entry elsewhere may be code of another width than the source begins with; images say that of the whole.
    const begins = guest instanceof Image || entry !== undefined ? undefined : bits;
    if (begins === undefined || begins === modeDefaults[chosen].bits) return chosen;
    throw new RangeError(
      `Cannot boot source with \`bits ${begins}\` in mode ${
        JSON.stringify(chosen)
      }: the CPU would take it for code of ` +
        `${modeDefaults[chosen].bits} bits. Leave out the mode or \`bits\`, or name the entry.`,
    );
  }
  throw new RangeError(
    `Cannot boot in mode ${JSON.stringify(chosen)}: there is none of that name. The modes are ${
      Object.keys(modeDefaults).join(", ")
    }.`,
  );
}

function isConvention(name: unknown): name is Convention {
  return typeof name === "string" && Object.hasOwn(conventionDefaults, name);
}

/** Options that a convention does not know would be ignored otherwise. */
function checkConventionOptions(options: BootOptions, convention: Convention): void {
  for (const [option, conventions] of Object.entries(OPTIONS_OF_CONVENTIONS)) {
    if (options[option as keyof BootOptions] === undefined) continue;
    if (conventions.includes(convention)) continue;
    throw new TypeError(
      `Cannot use the option ${option} with the convention ${JSON.stringify(convention)}: only ${
        conventions.join(" and ")
      } have it. Leave it out, or give another convention.`,
    );
  }
}

/**
 * What a mode, or a convention of long mode, has where the options say nothing.
 *
 * @throws {TypeError} When the convention does not go with the mode, or an option not with the convention.
 * @throws {RangeError} When there is no such convention.
 */
export function defaultsOf(mode: Mode, options: BootOptions): ModeDefaults {
  const { convention } = options as { convention?: unknown };
  if (mode !== "long") {
    if (convention === undefined) return modeDefaults[mode];
    throw new TypeError(
      `Cannot boot mode ${mode} by the convention ${
        JSON.stringify(convention)
      }: conventions are for 64-bit code. Give \`mode: "long"\`, or no convention.`,
    );
  }
  const chosen = convention ?? "plain";
  if (isConvention(chosen)) {
    checkConventionOptions(options, chosen);
    return conventionDefaults[chosen];
  }
  throw new RangeError(
    `Cannot boot by the convention ${
      JSON.stringify(convention)
    }: there is none of that name. The conventions are ${
      Object.keys(conventionDefaults).join(", ")
    }.`,
  );
}
