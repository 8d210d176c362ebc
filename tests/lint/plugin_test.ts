import { assert, assertEquals } from "@std/assert";
import plugin from "./plugin.ts";

/** The rules that `source` breaks when it stands at `path`, in order. */
function broken(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, path, source).map((found) => found.id.replace("vmexit/", ""));
}

const imports: readonly [path: string, source: string, allowed: boolean][] = [
  ["lib/kvm/vm.ts", `import { ioctl } from "../ffi/libc.ts";`, true],
  ["lib/kvm/vm.ts", `import { exit } from "./exit.ts";`, true],
  ["lib/kvm/abi/structs.ts", `import { struct } from "../../ffi/struct.ts";`, true],
  ["lib/kvm/abi/structs.ts", `import { vm } from "../vm.ts";`, true],
  ["lib/kvm/vm.ts", `import { boot } from "../machine/boot.ts";`, false],
  ["lib/kvm/vm.ts", `import type { Machine } from "../machine/machine.ts";`, false],
  ["lib/kvm/vm.ts", `export * from "../machine/boot.ts";`, false],
  ["lib/kvm/vm.ts", `export { boot } from "../machine/boot.ts";`, false],
  ["lib/kvm/vm.ts", `export type { Machine } from "../machine/machine.ts";`, false],
  ["lib/kvm/vm.ts", `function f() { return import("../machine/boot.ts"); }`, false],
  ["lib/kvm/vm.ts", "function f() { return import(`../machine/boot.ts`); }", false],
  ["lib/kvm/vm.ts", `function f(x: string) { return import(x); }`, false],
  ["lib/kvm/vm.ts", `type M = import("../machine/machine.ts").Machine;`, false],
  ["lib/kvm/vm.ts", `type L = import("../ffi/libc.ts").Libc;`, true],
  ["lib/kvm/vm.ts", `import "../machine/boot.ts";`, false],
  ["lib/ffi/libc.ts", `import { vm } from "../kvm/vm.ts";`, false],
  ["lib/x86/layout.ts", `import { struct } from "../ffi/struct.ts";`, true],
  ["lib/x86/layout.ts", `import { libc } from "../ffi/libc.ts";`, false],
  ["lib/x86/layout.ts", `import { readFileSync } from "node:fs";`, false],
  ["lib/guest/asm.ts", `import { layout } from "../x86/layout.ts";`, true],
  ["lib/guest/asm.ts", `import { vm } from "../kvm/vm.ts";`, false],
  ["lib/guest/asm.ts", `import { createHash } from "node:crypto";`, true],
  ["lib/devices/uart.ts", `import type { PortHandler } from "./handlers.ts";`, true],
  ["lib/devices/uart.ts", `import { PORT } from "../x86/layout.ts";`, true],
  ["lib/devices/uart.ts", `import type { AddressRange } from "../machine/buses/bus.ts";`, false],
  ["lib/devices/uart.ts", `import type { Machine } from "../machine/machine.ts";`, false],
  ["lib/machine/boot.ts", `import { libc } from "../ffi/libc.ts";`, true],
  ["lib/machine/boot.ts", `import { expect } from "../expect/expect.ts";`, false],
  ["lib/machine/run/new.ts", `import type { ExitLog } from "../exits/exit_log.ts";`, true],
  ["lib/machine/run/new.ts", `import { other } from "./other.ts";`, true],
  ["lib/machine/exits/new.ts", `import type { RunLoop } from "../run/run_loop.ts";`, false],
  ["lib/machine/run/new.ts", `import type { Machine } from "../machine.ts";`, false],
  ["lib/machine/run/new.ts", `import type { Machine } from "../mod.ts";`, false],
  ["lib/machine/new.ts", `import type { Machine } from "./machine.ts";`, false],
  ["lib/machine/attic/new.ts", `import type { ExitLog } from "../exits/exit_log.ts";`, false],
  ["lib/machine/mod.ts", `export { Machine } from "./machine.ts";`, true],
  ["lib/expect/expect.ts", `import type { Machine } from "../machine/machine.ts";`, true],
  ["lib/expect/expect.ts", `import { qemu } from "../nested/qemu.ts";`, false],
  ["lib/expect/expect.ts", `import { main } from "../cli/main.ts";`, false],
  ["lib/expect/expect.ts", `import { assert } from "../../tests/std/assert.ts";`, false],
  ["lib/expect/expect.ts", `import { assert } from "@std/assert";`, false],
  ["lib/expect/expect.ts", `import { boot } from "@vmexit/vmexit";`, false],
  ["lib/expect/expect.ts", `import { boot } from "../../mod.ts";`, false],
  ["lib/expect/expect.ts", `import { cProgram } from "../../bench/c_program.ts";`, false],
  ["lib/nested/qemu.ts", `import { join } from "node:path";`, true],
  ["lib/nested/qemu.ts", `import { HostError } from "../ffi/host_error.ts";`, false],
  ["lib/nested/qemu.ts", `import lz4 from "lz4js";`, false],
  ["lib/cli/main.ts", `import { run } from "../nested/mod.ts";`, true],
  ["lib/cli/main.ts", `import { boot } from "../../mod.ts";`, true],
  ["lib/cli/main.ts", `import { cProgram } from "../../bench/c_program.ts";`, false],
  ["lib/cli/main.ts", `import { assert } from "../../tests/std/assert.ts";`, false],
  ["mod.ts", `export { main } from "./lib/cli/main.ts";`, false],
  ["lib/attic/thing.ts", `import { libc } from "../ffi/libc.ts";`, false],
  ["mod.ts", `export { boot } from "./lib/machine/boot.ts";`, true],
  ["mod.ts", `export { run } from "./lib/nested/mod.ts";`, false],
  ["tests/nested/qemu_test.ts", `import { run } from "../../lib/nested/mod.ts";`, true],
  ["bench/pio.ts", `import { boot } from "@vmexit/vmexit";`, true],
  ["scripts/thing.ts", `import { boot } from "../mod.ts";`, false],
];

for (const [path, source, allowed] of imports) {
  Deno.test(`layers: ${path} ${allowed ? "may" : "may not"} ${source}`, () => {
    const ids = broken(path, source).filter((id) => id !== "no-circles");
    assertEquals(ids, allowed ? [] : ["layers"]);
  });
}

Deno.test("no-circles: forbids an import that closes a circle, of types as well", () => {
  // The machine is made of its board.
  for (
    const source of [
      `import type { Machine } from "./machine.ts";`,
      `export { Machine } from "./machine.ts";`,
      `type M = import("./machine.ts").Machine;`,
    ]
  ) {
    assert(broken("lib/machine/board.ts", source).includes("no-circles"), source);
  }
  const itself = `import { Machine } from "./machine.ts";`;
  assertEquals(broken("lib/machine/machine.ts", itself), ["no-circles"]);
  assertEquals(broken("lib/machine/machine.ts", `import { Board } from "./board.ts";`), []);
  assertEquals(broken("tests/machine/machine_test.ts", itself), []);
});

const unsafe: readonly [source: string, allowed: boolean][] = [
  [`Deno.dlopen("libc.so.6", {});`, false],
  [`Deno["dlopen"]("libc.so.6", {});`, false],
  ["Deno[`dlopen`]('libc.so.6', {});", false],
  [`globalThis.Deno.dlopen("libc.so.6", {});`, false],
  [`Deno?.dlopen("libc.so.6", {});`, false],
  [`const { dlopen } = Deno;`, false],
  [`const { dlopen: open } = Deno;`, false],
  [`const { "dlopen": open } = Deno;`, false],
  [`const { ["dlopen"]: open } = Deno;`, false],
  [`const { ...all } = Deno;`, false],
  [`const alias = Deno;`, false],
  [`new Deno.UnsafePointerView(pointer);`, false],
  [`Deno.UnsafePointer.of(bytes);`, false],
  [`let view: Deno.UnsafePointerView;`, false],
  [`Deno[name]();`, false],
  [`Deno.env.get("HOME");`, true],
  [`const { env } = Deno;`, true],
  [`let pointer: Deno.PointerValue;`, true],
  [`other.dlopen("libc.so.6");`, true],
];

for (const [source, allowed] of unsafe) {
  Deno.test(`unsafe-only-in-ffi: ${allowed ? "allows" : "forbids"} ${source}`, () => {
    assertEquals(broken("lib/kvm/vm.ts", source), allowed ? [] : ["unsafe-only-in-ffi"]);
    assertEquals(broken("lib/ffi/real_libc.ts", source), []);
  });
}

Deno.test("unsafe-only-in-ffi: holds for the tests and for bench, but not for the tests of ffi", () => {
  const source = `Deno.dlopen("libc.so.6", {});`;
  assertEquals(broken("tests/machine/run_test.ts", source), ["unsafe-only-in-ffi"]);
  assertEquals(broken("bench/pio_exits_bench.ts", source), ["unsafe-only-in-ffi"]);
  assertEquals(broken("tests/ffi/libc_test.ts", source), []);
});

const mods: readonly [path: string, source: string, allowed: boolean][] = [
  ["mod.ts", `export * from "./lib/expect/expect.ts";`, true],
  ["mod.ts", `export { boot, type Machine } from "./lib/machine/boot.ts";`, true],
  ["mod.ts", `export const version = "1";`, false],
  ["mod.ts", `export function f() {}`, false],
  ["mod.ts", `import { boot } from "./lib/machine/boot.ts"; export { boot };`, false],
  ["lib/ffi/mod.ts", `const x = 1;`, false],
  ["lib/ffi/libc.ts", `const x = 1;`, true],
  ["lib/kvm/abi/mod.ts", `const x = 1;`, true],
];

for (const [path, source, allowed] of mods) {
  Deno.test(`mod-only-re-exports: ${path} ${allowed ? "may" : "may not"} say ${source}`, () => {
    const ids = new Set(broken(path, source));
    assertEquals(ids, new Set(allowed ? [] : ["mod-only-re-exports"]));
  });
}

Deno.test("nothing-at-import: forbids a top-level await in the library, and only there", () => {
  const source = `const text = await Deno.readTextFile("x");`;
  assertEquals(broken("lib/nested/qemu.ts", source), ["nothing-at-import"]);
  assertEquals(broken("lib/cli/main.ts", source), []);
  assertEquals(broken("tests/nested/qemu_test.ts", source), []);
  for (
    const inFunction of [
      `async function f() { ${source} }`,
      `const f = async () => { ${source} };`,
      `const f = async () => await g();`,
      `class C { async m() { ${source} } }`,
      `const o = { async m() { ${source} } };`,
    ]
  ) {
    assertEquals(broken("lib/nested/qemu.ts", inFunction), [], inFunction);
  }
});

Deno.test("quiet-library: forbids the console in the library, and only there", () => {
  const source = `console.log("hello");`;
  assertEquals(broken("lib/machine/run.ts", source), ["quiet-library"]);
  assertEquals(broken("lib/machine/run.ts", `console.warn("hello");`), []);
  assertEquals(broken("lib/cli/main.ts", source), []);
  assertEquals(broken("tests/machine/run_test.ts", source), []);
  assertEquals(broken("bench/pio_exits_bench.ts", source), []);
  assertEquals(broken("lib/nested/console_log.ts", `options.console.log("x");`), []);
});

Deno.test("small-files: allows 500 lines and forbids 501", () => {
  assertEquals(broken("lib/machine/run.ts", "f();\n".repeat(500)), []);
  assertEquals(broken("lib/machine/run.ts", "f();\n".repeat(501)), ["small-files"]);
});
