/**
 * Prints which calls of the kernel a new machine and a reset make, and how many instructions each takes, with the call by
 * Deno: what is left of the figures of `vmexit bench --vs-c` is JavaScript.
 *
 *   deno run -A bench/calls.ts
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { boot, type BootOptions } from "@vmexit/vmexit";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { Progress } from "../lib/cli/command_context.ts";
import { nestedCommand } from "../lib/cli/nested_command.ts";
import { IOCTLS } from "../lib/kvm/abi/ioctls.ts";
import { qemuIcount } from "../lib/nested/mod.ts";
import { HLT, WRITES_16_PAGES } from "./runs.ts";

const INSIDE = "--inside";
const NANOSECONDS_PER_MILLISECOND = 1e6;

/** How often each is done before it is measured, until all that takes part is compiled. */
const WARM_UP = { machines: 150, resets: 3_000 };

const names = new Map<number, string>(
  Object.values(IOCTLS).map(({ number, name }) => [number, name]),
);
let calls: { readonly name: string; readonly time: number }[] = [];

/** The C library, whose calls are timed. */
function timedLibc() {
  const real = kvmLibc();
  const entries = Object.entries(real).map(([name, call]) => {
    if (typeof call !== "function" || name === "errno" || name === "addressOf") return [name, call];
    const run = call as (...args: unknown[]) => unknown;
    return [name, (...args: unknown[]) => {
      const began = performance.now();
      try {
        return run.apply(real, args);
      } finally {
        const time = performance.now() - began;
        const ioctl = name.startsWith("ioctl") ? names.get(args[1] as number) : undefined;
        calls.push({ name: ioctl ?? name, time });
      }
    }];
  });
  return Object.fromEntries(entries) as ReturnType<typeof kvmLibc>;
}

function print(what: string): void {
  const began = performance.now();
  const clock = performance.now() - began;
  console.log(what);
  for (const { name, time } of calls) {
    const instructions = Math.round((time - clock) * NANOSECONDS_PER_MILLISECOND);
    console.log(`${name.padEnd(32)}${instructions.toLocaleString("en").padStart(12)}`);
  }
}

function measure(): void {
  const options: BootOptions = { mode: "real", libc: timedLibc(), strict: false };
  for (let count = 0; count <= WARM_UP.machines; count++) {
    calls = [];
    using vm = boot(HLT, { ...options, memory: "4K" } as BootOptions);
    vm.run();
  }
  print("a machine made, run to HLT, disposed");
  using vm = boot(WRITES_16_PAGES, { ...options, memory: "64K" } as BootOptions);
  const snapshot = vm.snapshot();
  vm.run();
  for (let count = 0; count <= WARM_UP.resets; count++) {
    calls = [];
    vm.restore(snapshot);
    vm.run();
  }
  print("a machine of which 16 pages were written, restored and run to its HLT");
}

if (Deno.args.includes(INSIDE)) measure();
else {
  using progress = new Progress();
  const { signal } = new AbortController();
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const here = new URL(import.meta.url);
  Deno.exitCode = await nestedCommand(here, [INSIDE], qemuIcount(), { progress, signal }, {
    cwd,
    onLine: (line) => console.log(line),
  });
}
