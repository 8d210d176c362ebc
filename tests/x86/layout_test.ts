import { assert, assertEquals } from "@std/assert";
import { LONG_MODE, PORT, REAL_MODE } from "../../lib/x86/layout.ts";
import { checkPlacements } from "../../lib/x86/placement.ts";

Deno.test("nothing in the layout of long mode lies on anything else, and all of it lies below the code", () => {
  checkPlacements([
    {
      what: "page tables",
      gpa: LONG_MODE.pageTables,
      size: LONG_MODE.pageTablesEnd - LONG_MODE.pageTables,
    },
    {
      what: "more page tables",
      gpa: LONG_MODE.morePageTables,
      size: LONG_MODE.morePageTablesEnd - LONG_MODE.morePageTables,
    },
    { what: "GDT", gpa: LONG_MODE.globalDescriptorTable, size: 0x28 },
    { what: "TSS", gpa: LONG_MODE.taskStateSegment, size: 104 },
    { what: "handler of int 0x80", gpa: LONG_MODE.systemCallHandler, size: 3 },
    { what: "fault stubs", gpa: LONG_MODE.faultStubs, size: 32 * 4 },
    {
      what: "stacks of handlers",
      gpa: LONG_MODE.faultStack,
      size: LONG_MODE.kernelStackTop - LONG_MODE.faultStack,
    },
    { what: "IDT", gpa: LONG_MODE.interruptDescriptorTable, size: 256 * 16 },
    {
      what: "stack",
      gpa: LONG_MODE.morePageTablesEnd,
      size: LONG_MODE.stackTop - LONG_MODE.morePageTablesEnd,
    },
  ], LONG_MODE.code);
});

Deno.test("the ports are those that guests know", () => {
  assertEquals(PORT, {
    picMaster: 0x20,
    i8042Data: 0x60,
    i8042Command: 0x64,
    cmos: 0x70,
    postCode: 0x80,
    systemControl: 0x92,
    debugConsole: 0xe9,
    pit: 0x40,
    speaker: 0x61,
    picSlave: 0xa0,
    fault: 0xbe,
    bios: 0xe3,
    vga: 0x3c0,
    guestReport: 0xe4,
    guestRecord: 0xe5,
    exit: 0xf4,
    com1: 0x3f8,
    com2: 0x2f8,
    com3: 0x3e8,
    com4: 0x2e8,
    picElcr: 0x4d0,
    acpiPm: 0x600,
    resetControl: 0xcf9,
    fwCfg: 0x510,
    ata: 0x1f0,
    ataControl: 0x3f6,
    pciAddress: 0xcf8,
    pciData: 0xcfc,
  });
});

Deno.test("real-mode code follows the vector table and the BIOS data area", () => {
  assertEquals(REAL_MODE.interruptVectorTableLimit + 1, REAL_MODE.biosDataArea);
  assert(REAL_MODE.code >= REAL_MODE.biosDataArea + 0x100);
  assertEquals(REAL_MODE.faultStubs, REAL_MODE.biosDataArea + 0xf0);
  assertEquals(REAL_MODE.end, 0xffff * 16 + 0xffff + 1);
});
