/**
 * Unit tests for code that runs below an operating system: boot sectors, firmware, kernels, hypervisors. A
 * test assembles a guest with NASM, boots it on a real KVM virtual CPU, and asserts on its exits, registers
 * and memory.
 *
 * Where to begin:
 *
 * - the guest: {@linkcode asm}, and {@linkcode Image} for flat binaries and ELF files;
 * - the machine: {@linkcode boot} and its {@linkcode BootOptions}, which gives a {@linkcode Machine};
 * - the assertions: {@linkcode expect}, and patterns of exits for transcripts ({@linkcode portOut},
 *   {@linkcode portIn}, {@linkcode mmioRead}, {@linkcode mmioWrite}, {@linkcode hlt}, {@linkcode exit}).
 *
 * All else is what those stand on: KVM's ABI ({@linkcode Kvm}, {@linkcode Vm}, {@linkcode Vcpu},
 * {@linkcode Exit}), boot states and page tables as pure functions ({@linkcode bootState},
 * {@linkcode checkGuestState}), and the C library ({@linkcode Libc}).
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
export * from "./lib/devices/mod.ts";
export * from "./lib/x86/mod.ts";
export * from "./lib/kvm/mod.ts";
export * from "./lib/ffi/mod.ts";
