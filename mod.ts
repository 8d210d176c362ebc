/**
 * Unit tests for code that runs below an operating system: boot sectors, firmware, kernels, hypervisors. A test
 * assembles a guest with NASM, boots it on a real KVM virtual CPU, and asserts on its exits, registers and memory.
 *
 * Where to begin:
 *
 * - the guest: {@linkcode asm}, and {@linkcode Image} for flat binaries and ELF files;
 * - the machine: {@linkcode boot} and its {@linkcode BootOptions}, which gives a {@linkcode Machine};
 * - the assertions: {@linkcode expect}, and patterns of exits for transcripts ({@linkcode portOut}, {@linkcode portIn},
 *   {@linkcode mmioRead}, {@linkcode mmioWrite}, {@linkcode hlt}, {@linkcode exit}).
 *
 * What those stand on has entry points of its own: `@vmexit/vmexit/x86` (boot states, page tables, flags and checks as
 * pure functions), `/svm` and `/vmx` (nested virtualization), `/devices` (boards of devices), `/kvm` (the kernel's
 * levels of KVM), `/abi` (its structures and numbers).
 *
 * @example A test
 * ```ts no-eval
 * import { asm, boot, expect, hlt, mmioWrite, portIn, portOut } from "@vmexit/vmexit";
 *
 * Deno.test("the guest greets, asks, and halts", () => {
 *   using vm = boot(asm`
 *     mov dx, 0x1000
 *     mov al, 'A'
 *     out dx, al
 *     in  al, dx
 *     mov [0x2000], al        ; nothing is mapped there: MMIO
 *     hlt
 *   `, { mode: "real", memory: "4K" });
 *
 *   expect(vm).toExit([
 *     portOut(0x1000, "A"),
 *     portIn(0x1000).returns(0xaa),
 *     mmioWrite(0x2000, [0xaa]),
 *     hlt(),
 *   ]);
 *   expect(vm).toHaveRegisters({ al: 0xaa, dx: 0x1000 });
 * });
 * ```
 *
 * @module
 */
export * from "./lib/guest/mod.ts";
export * from "./lib/machine/mod.ts";
export * from "./lib/expect/mod.ts";
export * from "./lib/fuzz/mod.ts";
export type { AddressRange } from "./lib/devices/bus.ts";
export type { MmioHandler, PortHandler, StatefulHandler } from "./lib/devices/handlers.ts";
export { HostError, SystemError } from "./lib/ffi/errors.ts";
export { CapabilityError, KvmError, MsrError } from "./lib/kvm/errors.ts";
export type { Exit } from "./lib/kvm/exits/exit.ts";
export type { Mode } from "./lib/x86/boot/cpu_state.ts";
export type { PageMapping } from "./lib/x86/paging/page_mapping.ts";
