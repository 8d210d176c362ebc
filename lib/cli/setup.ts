import {
  findBinutils,
  findNasm,
  findProgram,
  installPackages,
  missingPackages,
  NestedError,
  openImage,
  qemuIcount,
  requireBinutils,
  requireFirmware,
} from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { chooseKvm, machineProgram, prepareKvm } from "./prepare_kvm.ts";

/** Programs that tests of the project use: what installs them, by the options that ask for them. */
const PROGRAMS = {
  "--c-compiler": {
    program: "cc",
    packages: ["gcc", "libc6-dev", "linux-libc-dev"],
    reason: "a C compiler",
  },
  "--gdb": { program: "gdb", packages: ["gdb"], reason: "gdb" },
};

/** Nothing is installed on this system; only the emulated machine's image is made. `boot` asks for it so. */
const NO_INSTALL_OPTION = "--no-install";

/** SeaBIOS, OVMF, GRUB and others, which tests of the project boot, are fetched into the cache. */
const FIRMWARE_OPTION = "--firmware";

/** The machine that counts instructions: QEMU, also where there is a KVM, and its image. */
const INSTRUCTION_CLOCK_OPTION = "--instruction-clock";
const OPTIONS: readonly string[] = [
  ...Object.keys(PROGRAMS),
  FIRMWARE_OPTION,
  INSTRUCTION_CLOCK_OPTION,
  NO_INSTALL_OPTION,
];
/** What setup knows, as a person reads it. */
const OPTIONS_TEXT = `${OPTIONS.slice(0, -1).join(", ")} and ${OPTIONS.at(-1)}`;

/**
 * `vmexit setup [--c-compiler] [--gdb] [--firmware] [--instruction-clock] [--no-install]`: fetches and makes all that tests need, and does nothing where it is
 * there already.
 *
 * @param args The command's arguments.
 * @param context Who hears of it, what ends it.
 * @returns The exit code.
 * @throws {TypeError} When an argument is not known.
 * @throws {NestedError} When something cannot be had.
 */
export async function setup(args: readonly string[], context: CommandContext): Promise<number> {
  const { progress, signal } = context;
  const unknown = args.find((arg) => !OPTIONS.includes(arg));
  if (unknown !== undefined) {
    throw new TypeError(
      `Cannot take ${unknown} as an argument of setup: it knows ${OPTIONS_TEXT} only`,
    );
  }
  const choice = chooseKvm(context);
  const program = machineProgram(choice);
  const packages = program === undefined ? [] : await missingPackages(program);
  const reasons = packages.length > 0 ? ["a KVM"] : [];
  const clock = args.includes(INSTRUCTION_CLOCK_OPTION) ? qemuIcount() : undefined;
  const ofClock = clock === undefined ? [] : await missingPackages(clock);
  if (ofClock.length > 0) {
    packages.push(...ofClock.filter((name) => !packages.includes(name)));
    reasons.push("the instruction clock");
  }
  for (const [option, { program, packages: ofProgram, reason }] of Object.entries(PROGRAMS)) {
    if (!args.includes(option) || await findProgram(program) !== undefined) continue;
    packages.push(...ofProgram);
    reasons.push(reason);
  }
  // All in one command, because without root a person has to type it.
  if (packages.length > 0 && await findNasm() === undefined) {
    packages.push("nasm");
    reasons.push("the assembler");
  }
  if (packages.length > 0 && args.includes(NO_INSTALL_OPTION)) {
    throw new NestedError(
      `${packages.join(", ")} would have to be installed for ${reasons.join(", ")}`,
    );
  }
  if (packages.length > 0 && await findBinutils() === undefined) {
    packages.push("binutils");
    reasons.push("reading debug information");
  }
  if (packages.length > 0) {
    await installPackages(packages, reasons.join(", "), progress.show, signal);
  }
  if (!args.includes(NO_INSTALL_OPTION)) {
    try {
      await requireBinutils(progress.show, signal);
    } catch (error) {
      // Tests run without them; failure pages say what they lack.
      if (!(error instanceof NestedError)) throw error;
      progress.note(error.message);
    }
  }
  if (args.includes(FIRMWARE_OPTION)) await requireFirmware(progress.show, signal);
  await prepareKvm(choice, context);
  if (clock !== undefined) {
    using _image = await openImage({ machine: clock, onProgress: progress.show, signal });
  }
  return 0;
}
