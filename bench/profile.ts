/**
 * Shows where the instructions of one exit go, in the process: it is made natively by an ioctl that returns at once
 * (`FIOCLEX`) in the place of `KVM_RUN`, warmed up, and single-stepped by gdb from one call to the next.
 *
 *   deno run -A bench/profile.ts loop|run|exits|transcript
 *
 * What it prints: how many instructions of which function; what V8 has inlined counts for whom it is inlined in.
 *
 * @module
 */

import { boot, expect, portOut } from "@vmexit/vmexit";
import { EXIT_REASON, IOCTLS } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { libc as localLibc } from "../lib/ffi/real_libc.ts";
import { kvm_run } from "../lib/kvm/abi/structs/run.ts";
import { ENDLESS_OUT, PORT } from "./runs.ts";

const KVM_RUN = IOCTLS.KVM_RUN.number;
/** Sets close-on-exec, which standard input may have. */
const FIOCLEX = 0x5451;
const EXITS = 200;
const WARM_UP = 1_000;
const REASON = kvm_run.offsetOf("exit_reason") / Uint32Array.BYTES_PER_ELEMENT;

/** Calls the ioctl and nothing else. */
function bareLoop(): () => void {
  const { ioctl } = localLibc();
  return () => {
    for (let number = 0; number < EXITS; number++) {
      if (ioctl(0, FIOCLEX, 0) !== 0) throw new Error("FIOCLEX failed");
    }
  };
}

/** A machine whose guest's first exit comes again and again, driven in one of the ways. */
function machineLoop(way: string): () => void {
  const real = kvmLibc();
  const { ioctl } = localLibc();
  let run = new Uint32Array(0);
  let isReplaying = false;
  const vm = boot(ENDLESS_OUT, {
    mode: "real",
    memory: "4K",
    timeout: 600_000,
    libc: {
      ...real,
      memory: (address, length) => (run = new Uint32Array(real.memory(address, length))).buffer,
      ioctl(fd, request, argument) {
        if (!isReplaying || request !== KVM_RUN) return real.ioctl(fd, request, argument);
        run[REASON] = EXIT_REASON.IO;
        return ioctl(0, FIOCLEX, 0);
      },
    },
  });
  let left = 1;
  vm.ports.on(PORT, {
    write(): void {
      if (--left === 0 && way === "run") vm.stop();
    },
  });
  const drive = {
    run: () => void vm.run(),
    exits: () => {
      for (const { exit } of vm.exits()) if (exit.reason === "IO" && left === 0) return;
    },
    transcript: () => void expect(vm).toExit([portOut(PORT).times(left)]),
  }[way];
  if (drive === undefined) throw new TypeError(`Cannot profile "${way}": there is no such way`);
  drive();
  isReplaying = true;
  return () => {
    left = EXITS;
    drive();
  };
}

const [way, role] = Deno.args;
if (role === "target") {
  const loop = way === "loop" ? bareLoop() : machineLoop(way);
  for (let round = 0; round < WARM_UP; round++) loop();
  console.log("ready");
  for (;;) loop();
}

// V8 leaves a log in its working directory.
const folder = await Deno.makeTempDir({ prefix: "vmexit-profile-" });
const target = new Deno.Command(Deno.execPath(), {
  args: [
    ...[
      "run",
      "--allow-all",
      "--no-check",
      "--v8-flags=--perf-basic-prof",
    ],
    ...[import.meta.url, way, "target"],
  ],
  cwd: folder,
  stdout: "piped",
}).spawn();
try {
  const { value } = await target.stdout.getReader().read();
  if (value === undefined) throw new Error("The process to profile has ended");
  const gdb = await new Deno.Command("gdb", {
    args: ["-quiet", "-batch", "-x", new URL("profile.py", import.meta.url).pathname],
    env: { PROFILED: `${target.pid}`, PROFILED_REQUEST: `${FIOCLEX}` },
  }).output();
  const said = new TextDecoder().decode(gdb.stdout);
  const table = said.slice(said.indexOf("instructions of one exit"));
  if (!gdb.success || table === said) throw new Error(new TextDecoder().decode(gdb.stderr));
  console.log(table.trim());
} finally {
  await target[Symbol.asyncDispose]();
  await Deno.remove(folder, { recursive: true });
  await Deno.remove(`/tmp/perf-${target.pid}.map`).catch(() => {});
}
