import { basename, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { ImageKind } from "../guest/boot_protocol.ts";
import type { KernelOptions } from "../machine/boot/boot_options.ts";
import { GDB_PORT } from "../machine/gdb/serve_gdb.ts";
import type { Mode } from "../x86/boot/cpu_state.ts";

/** What `vmexit run` is told. */
export interface RunArguments {
  /** The file that is booted. */
  readonly file: string;
  /** What it is, where its headers are not to say it. */
  readonly kind: ImageKind | undefined;
  /** Of a flat binary: where it lies. */
  readonly origin: number | undefined;
  /** The mode it starts in. */
  readonly mode: Mode | undefined;
  /** How much memory there is. */
  readonly memory: string | undefined;
  /** How many CPUs. */
  readonly cpus: number;
  /** A disk image, whose file is not written to. */
  readonly disk: string | undefined;
  /** What a kernel is told; undefined for nothing. */
  readonly kernel: KernelOptions | undefined;
  /** Whether every exit is shown. */
  readonly trace: boolean;
  /** Seconds. */
  readonly timeout: number;
  /** The text that ends the run well. */
  readonly until: string | undefined;
  /** The port where gdb is waited for; undefined where it is not. */
  readonly gdb: number | undefined;
}

const OPTIONS = {
  append: { type: "string" },
  cpus: { type: "string" },
  disk: { type: "string" },
  gdb: { type: "boolean" },
  "gdb-port": { type: "string" },
  initrd: { type: "string" },
  kind: { type: "string" },
  memory: { type: "string" },
  mode: { type: "string" },
  module: { type: "string", multiple: true },
  origin: { type: "string" },
  timeout: { type: "string" },
  trace: { type: "boolean" },
  until: { type: "string" },
} as const;

const DEFAULT_SECONDS = 60;
/** A day: what is more is a slip. */
const MOST_SECONDS = 86_400;

/**
 * Reads the arguments of `vmexit run`.
 *
 * @throws {TypeError | RangeError} When they are not as `vmexit help` has them.
 */
export function readRunArguments(args: readonly string[]): RunArguments {
  const { values, positionals } = parse(args);
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    throw new TypeError("Cannot tell what to run: type vmexit run FILE, with options");
  }
  const { append, initrd, module: modules = [], until } = values;
  if (until === "") throw new TypeError("Cannot run until an empty text: every output has it");
  return {
    file: resolve(Deno.cwd(), file),
    kind: values.kind as ImageKind | undefined,
    origin: values.origin === undefined ? undefined : numberOf("origin", values.origin, 0, 2 ** 52),
    mode: values.mode as Mode | undefined,
    memory: values.memory,
    cpus: values.cpus === undefined ? 1 : numberOf("cpus", values.cpus, 1, 255),
    disk: values.disk,
    kernel: append === undefined && initrd === undefined && modules.length === 0 ? undefined : {
      commandLine: append,
      initrd: initrd === undefined ? undefined : readFile(initrd),
      modules: modules.length === 0 ? undefined : modules.map((path) => ({
        content: readFile(path),
        commandLine: basename(path),
      })),
    },
    trace: values.trace ?? false,
    timeout: values.timeout === undefined
      ? DEFAULT_SECONDS
      : numberOf("timeout", values.timeout, 1, MOST_SECONDS),
    until,
    gdb: gdbPort(values.gdb ?? false, values["gdb-port"]),
  };
}

function gdbPort(isAsked: boolean, port: string | undefined): number | undefined {
  if (port !== undefined) return numberOf("gdb-port", port, 0, 0xffff);
  return isAsked ? GDB_PORT : undefined;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    // Node's errors have their codes in their names.
    throw new TypeError(
      `Cannot read the arguments: ${(error as Error).message}. vmexit help lists them.`,
    );
  }
}

/**
 * A file of the command line.
 *
 * @throws {Deno.errors.NotFound} When there is none.
 */
export function readFile(path: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(resolve(Deno.cwd(), path));
}

function numberOf(option: string, text: string, least: number, most: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new RangeError(
    `Cannot use --${option} ${text}: give a whole number from ${least} to ${most}`,
  );
}
