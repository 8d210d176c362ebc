import { emulatedMachineName } from "../../../lib/machine/host/emulated_machine.ts";
import { assertEquals, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  type BootOptions,
  expect,
  GuestFaultError,
  hlt,
  type Machine,
  type PageMapping,
  requires,
} from "@vmexit/vmexit";
import { needsOf } from "../../modes/modes.ts";

/** What tells the ways to page apart. */
interface Paging {
  name: string;
  options: BootOptions & { mode: "paged" | "pae" | "compatibility" | "long" };
  hasNoExecute: boolean;
}

const MODES: readonly Paging[] = [
  { name: "32-bit paging", options: { mode: "paged" }, hasNoExecute: false },
  { name: "PAE paging", options: { mode: "pae" }, hasNoExecute: true },
  { name: "compatibility mode", options: { mode: "compatibility" }, hasNoExecute: true },
  { name: "long mode", options: { mode: "long" }, hasNoExecute: true },
  { name: "5 levels", options: { mode: "long", levels: 5 }, hasNoExecute: true },
];

const HOLE = 0x10_0000;
const READ_ONLY = 0x10_1000;
const SUPERVISOR = 0x10_2000;
const NO_EXECUTE = 0x10_3000;

function mappings(user: boolean, hasNoExecute: boolean): PageMapping[] {
  return [
    { linear: HOLE, size: 0x1000, present: false },
    { linear: READ_ONLY, physical: READ_ONLY, size: 0x1000, writable: false, user },
    { linear: SUPERVISOR, physical: SUPERVISOR, size: 0x1000, user: false },
    ...hasNoExecute
      ? [{ linear: NO_EXECUTE, physical: NO_EXECUTE, size: 0x1000, executable: false, user }]
      : [],
  ];
}

/** The first line of the error that running the guest throws. */
function lineOf(vm: Machine): string {
  return assertThrows(() => vm.run(), GuestFaultError).message.split("\n")[0]
    .replace(/ at 0x1[0-9a-f]{4,5} \(`.*`\)/, "");
}

function goTo(vm: Machine, label: string): void {
  vm.registers.rip = label;
}

for (const { name, options, hasNoExecute } of MODES) {
  for (const cpl of [0, 3] as const) {
    Deno.test(
      requires(
        needsOf(options),
        `${name}, CPL ${cpl}: a page fault says what was tried, where, and what forbids it`,
      ),
      () => {
        using vm = boot(
          asm`
        read:
          mov al, [ecx]
        write:
          mov [ecx], al
        `,
          { ...options, cpl, catchFaults: true, mappings: mappings(cpl === 3, hasNoExecute) },
        );
        const user = cpl === 3 ? "user " : "";
        const bit = cpl === 3 ? 4 : 0;
        vm.registers.rcx = BigInt(HOLE);
        assertEquals(lineOf(vm), `#PF: ${user}read from 0x100000, not present at PTE`);
        assertEquals([vm.fault!.errorCode, vm.fault!.cr2], [bit, BigInt(HOLE)]);
        vm.registers.rcx = BigInt(READ_ONLY);
        goTo(vm, "write");
        assertEquals(lineOf(vm), `#PF: ${user}write to 0x101000, read-only at PTE`);
        assertEquals(vm.fault!.errorCode, bit | 3);
        vm.registers.rcx = BigInt(SUPERVISOR);
        goTo(vm, "read");
        if (cpl === 3) {
          assertEquals(lineOf(vm), `#PF: user read from 0x102000, supervisor only at PTE`);
          assertEquals(vm.fault!.errorCode, 5);
        }
        vm.registers.rip = BigInt(HOLE);
        assertEquals(
          lineOf(vm),
          `#PF at 0x100000: ${user}${
            hasNoExecute ? "fetch" : "read"
          } from 0x100000, not present at PTE`,
        );
        if (!hasNoExecute) return;
        vm.registers.rip = BigInt(NO_EXECUTE);
        assertEquals(
          lineOf(vm),
          `#PF: ${user}fetch from 0x103000, no-execute at PTE`,
        );
        assertEquals(vm.fault!.errorCode, bit | 0x11);
      },
    );
  }
}

Deno.test("a reserved bit is named with its entry", () => {
  using vm = boot(
    asm`
      bits 64
      mov al, [0x40000000]
    `,
    { catchFaults: true, memory: "2M" },
  );
  // A PDPTE that maps a table with an address of 52 bits, of which the CPU has fewer, and a reserved bit.
  vm.memory.setU64(0x2008, 0x000f_ffff_ffff_f003n | (1n << 7n));
  assertEquals(
    lineOf(vm),
    "#PF: read from 0x40000000, reserved bit set at PDPTE",
  );
  // The entry is present: P and RSVD, of which QEMU gives the second alone.
  assertEquals(vm.fault!.errorCode, emulatedMachineName()?.startsWith("qemu") ? 8 : 9);
});

Deno.test("a test can repair what faulted, and run on: the instruction is tried again", () => {
  using vm = boot(
    asm`
      bits 64
    again:
      mov [0x100000], al
      mov bl, [0x100000]
      hlt
    `,
    {
      catchFaults: true,
      registers: { al: 7 },
      mappings: [{ linear: HOLE, size: 0x1000, present: false }],
    },
  );
  expect(vm).toFault("#PF", { errorCode: 2, cr2: HOLE, rip: "again" });
  const { gpa } = vm.fault!.walk!.levels.at(-1)!;
  vm.memory.setU64(gpa, BigInt(HOLE) | 3n);
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ bl: 7 });
});
