import { atCaller } from "../../guest/call_site.ts";
import { asyncError, isPromise, type NoPromise } from "../../devices/handlers.ts";
import type { BiosQuirks } from "../../devices/bios/quirks.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { REAL_MODE } from "../../x86/layout.ts";
import { SplitMix32 } from "../../x86/split_mix.ts";
import type { RealOptions } from "./boot_options.ts";

/** The state in which a PC's firmware leaves the machine to a boot sector: what one run of it is told. */
export interface FirmwareState {
  /** For `boot`: registers, segments, and where the CPU starts. */
  readonly options: RealOptions;
  /** For the `Bios`: what it does otherwise. */
  readonly quirks: BiosQuirks;
  /** What differs from the state in which all registers but DL are zero, in words. */
  readonly text: string;
}

/** A way in which firmware differs. */
interface Deviation {
  readonly text: string;
  readonly options?: RealOptions;
  readonly registers?: RealOptions["registers"];
  readonly quirks?: BiosQuirks;
}

/** How states are tried. */
export interface HostileBootOptions {
  /** The boot drive, which DL has. Default 0x80. */
  readonly drive?: number;
  /** How many states with several deviations are tried beside those with one. Default 32. */
  readonly count?: number;
  /** The seed that chooses them. Default 0. */
  readonly seed?: number;
}

const NAMES: NamesOf<HostileBootOptions> = { drive: "value", count: "value", seed: "value" };

const PARAGRAPH = 16;
const BOOT_SECTOR = REAL_MODE.bootSector;
const DIRECTION = 0x400;
const INTERRUPT = 0x200;
const ALWAYS_SET = 0x2;

/**
 * What PC firmware is known to leave: nothing but DL, and the address, is promised to a boot sector (BIOS Boot
 * Specification 1.01, 6.5.1).
 */
const DEVIATIONS: readonly Deviation[] = [
  { text: "CS:IP is 07C0:0000", options: { cs: BOOT_SECTOR / PARAGRAPH, ip: 0 } },
  { text: "DS is 0x40", options: { ds: 0x40 } },
  { text: "DS is 0xF000", options: { ds: 0xf000 } },
  { text: "ES is 0x7C0", options: { es: 0x7c0 } },
  { text: "ES is 0xF000", options: { es: 0xf000 } },
  { text: "FS and GS are 0x1234", options: { fs: 0x1234, gs: 0x1234 } },
  { text: "SS:SP is 0000:0400", options: { ss: 0, sp: 0x400 } },
  { text: "SS:SP is 9000:FC00", options: { ss: 0x9000, sp: 0xfc00 } },
  { text: "SS:SP is 0030:0100", options: { ss: 0x30, sp: 0x100 } },
  { text: "EAX is 0xAA55AA55", registers: { eax: 0xaa55_aa55 } },
  { text: "EBX is 0x12345678", registers: { ebx: 0x1234_5678 } },
  { text: "ECX is 0xFFFF0000", registers: { ecx: 0xffff_0000 } },
  { text: "the upper half of EDX is 0xDEAD", registers: { edx: 0xdead_0000 } },
  { text: "ESI is 0xFFFF0001", registers: { esi: 0xffff_0001 } },
  { text: "EDI is 0xFFFF0002", registers: { edi: 0xffff_0002 } },
  { text: "EBP is 0xFFFFFFFF", registers: { ebp: 0xffff_ffff } },
  { text: "DF is set", registers: { rflags: ALWAYS_SET | DIRECTION } },
  { text: "IF is set", registers: { rflags: ALWAYS_SET | INTERRUPT } },
  { text: "the BIOS returns with IF set", quirks: { enablesInterrupts: true } },
  { text: "the BIOS trashes registers", quirks: { trashesRegisters: true } },
  { text: "the BIOS has no extensions of INT 13h", quirks: { hasNoExtensions: true } },
  { text: "the BIOS has no E820", quirks: { hasNoE820: true } },
  { text: "the BIOS gives short entries of E820", quirks: { shortE820: true } },
  { text: "every second read of a disk fails once", quirks: { failsReadsEvery: 2 } },
];

/**
 * Runs a test of a boot sector over the states in which PC firmware leaves the machine: first all registers zero but DL,
 * then each known deviation by itself, then several together, as a seed has it. Boots that need luck fail here.
 *
 * @param body Boots the guest with the options and, where it calls the BIOS, with the quirks; and asserts.
 * @throws {TypeError} When the body never asks for `options`.
 * @throws What `body` threw for the state with the fewest deviations, with these in front of its message.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hostileBoot } from "@vmexit/vmexit";
 * import { Bios, Disk, TextScreen } from "@vmexit/vmexit/devices";
 *
 * const sector = asm`
 *   jmp 0:start
 * start:
 *   xor ax, ax
 *   mov ss, ax
 *   mov sp, 0x7c00
 *   mov ax, 0x0e21
 *   int 0x10
 *   hlt
 * `;
 * hostileBoot(({ options, quirks }) => {
 *   const screen = new TextScreen();
 *   using vm = boot(sector, { ...options, devices: [screen, new Bios({ screen, quirks })] });
 *   vm.run();
 *   expect(vm).toHaveScreen(["!"]);
 * });
 * ```
 */
export function hostileBoot(
  body: (state: FirmwareState) => NoPromise,
  options: HostileBootOptions = {},
): void {
  atCaller(hostileBoot, () => {
    checkOptions("boot", options, NAMES);
    const { drive = 0x80, count = 32, seed = 0 } = options;
    if (typeof body !== "function") {
      throw new TypeError(
        `Cannot boot with ${typeof body}: give a function that boots and asserts`,
      );
    }
    for (const [name, value] of Object.entries({ drive, count, seed })) {
      if (Number.isSafeInteger(value) && value >= 0) continue;
      throw new RangeError(
        `Cannot boot with the ${name} ${String(value)}: it is no whole number from 0 on`,
      );
    }
  });
  const { drive = 0x80, count = 32, seed = 0 } = options;
  const random = new SplitMix32(seed);
  const states = [
    [],
    ...DEVIATIONS.map((deviation) => [deviation]),
    ...Array.from({ length: count }, () => DEVIATIONS.filter(() => random.below(2) === 1)),
  ];
  let isUsed = false;
  const noting = (state: FirmwareState) =>
    body({
      ...state,
      get options() {
        isUsed = true;
        return state.options;
      },
    });
  for (const state of states) {
    const failure = failureOf(noting, state, drive);
    if (failure !== undefined) throw smallest(noting, state, drive, failure.error);
  }
  atCaller(hostileBoot, () => {
    if (isUsed) return;
    throw new TypeError(
      "Cannot tell what hostile firmware does: the body has not asked for `options`, so that all of its boots are the same",
    );
  });
}

/** Takes deviations away as long as it still fails. */
function smallest(
  body: (state: FirmwareState) => NoPromise,
  state: readonly Deviation[],
  drive: number,
  first: unknown,
): unknown {
  let kept = state;
  let error = first;
  for (const deviation of state) {
    const fewer = kept.filter((each) => each !== deviation);
    const failure = failureOf(body, fewer, drive);
    if (failure === undefined) continue;
    kept = fewer;
    error = failure.error;
  }
  if (error instanceof Error) {
    error.message = `Firmware state: ${stateOf(kept, drive).text}.\n\n${error.message}`;
    // V8 has written the message into the stack already.
    const frames = error.stack?.slice(error.stack.search(/\n {4}at /)) ?? "";
    error.stack = `${error.name}: ${error.message}${frames}`;
  }
  return error;
}

function failureOf(
  body: (state: FirmwareState) => NoPromise,
  state: readonly Deviation[],
  drive: number,
): { error: unknown } | undefined {
  try {
    const result = body(stateOf(state, drive));
    if (isPromise(result)) throw asyncError(result, "boot with an async body");
    return undefined;
  } catch (error) {
    return { error };
  }
}

function stateOf(deviations: readonly Deviation[], drive: number): FirmwareState {
  const all = { registers: {} as Record<string, number>, options: {}, quirks: {} };
  for (const { registers, options, quirks } of deviations) {
    for (const [name, value] of Object.entries(registers ?? {})) {
      all.registers[name] = (all.registers[name] ?? 0) | Number(value);
    }
    Object.assign(all.options, options);
    Object.assign(all.quirks, quirks);
  }
  const { edx = 0, ...others } = all.registers;
  const registers = Object.fromEntries(
    Object.entries({ ...others, edx: edx | drive }).map(([name, value]) => [name, value >>> 0]),
  );
  return {
    options: { mode: "real", origin: BOOT_SECTOR, ...all.options, registers },
    quirks: all.quirks,
    text: deviations.map(({ text }) => text).join(", ") || "all registers are zero but DL",
  };
}
