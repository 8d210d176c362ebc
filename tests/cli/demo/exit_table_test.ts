import type { Exit } from "@vmexit/vmexit";
import type { IoExit, MmioExit } from "@vmexit/vmexit/kvm";
import { exitRow, exitTableHead } from "../../../lib/cli/demo/exit_table.ts";
import { assertEquals } from "@std/assert";

const runFlags = { smm: false, busLock: false, guestMode: false };

function io(fields: Partial<IoExit>): IoExit {
  const data = new Uint8Array([0x41]);
  return {
    reason: "IO",
    number: 2,
    runFlags,
    direction: "out",
    port: 0x3f8,
    size: 1,
    count: 1,
    data,
    ...fields,
  };
}

function mmio(fields: Partial<MmioExit>): MmioExit {
  const data = new Uint8Array(4);
  return {
    reason: "MMIO",
    number: 6,
    runFlags,
    gpa: 0xfee000b0,
    len: 4,
    isWrite: true,
    data,
    ...fields,
  };
}

const row = (exit: Exit, value?: bigint, answeredBy?: string) =>
  exitRow({ number: 7, cpu: 0, exit, fault: undefined, description: undefined, value, answeredBy });

Deno.test("rows stand below the head of their table, whatever they hold", () => {
  assertEquals([
    exitTableHead(),
    row(io({}), 0x41n, "COM1"),
    row(io({ data: new Uint8Array([10]) }), 10n, "COM1"),
    row(io({ data: new Uint8Array(4), size: 4, port: 0xcf8 }), 0x80000000n, "PCI"),
    row(io({ count: 5, data: new TextEncoder().encode("Hello") }), 0x48n, "COM1"),
    row(io({ count: 26, data: new Uint8Array(26).fill(0x61) }), 0x61n, "COM1"),
    row(io({ direction: "in", data: new Uint8Array(1) }), 0xaan, "the test"),
    row(io({ direction: "in", data: new Uint8Array(1) })),
    row(mmio({}), 0x1fn, "LAPIC"),
    row(mmio({ isWrite: false, len: 8, data: new Uint8Array(8) }), 0x1122334455667788n, "x"),
    row({ reason: "HLT", number: 5, runFlags }),
  ], [
    "     #  kind        port/address  size  data                    answered by",
    '     7  IO out      0x3f8            1  0x41 "A"                COM1',
    '     7  IO out      0x3f8            1  0x0a "\\n"               COM1',
    "     7  IO out      0xcf8            4  0x80000000              PCI",
    '     7  IO out      0x3f8          1×5  "Hello"                 COM1',
    '     7  IO out      0x3f8         1×26  "aaaaaaaaaaaaaaaaaaaa…  COM1',
    "     7  IO in       0x3f8            1  0xaa                    the test",
    "     7  IO in       0x3f8            1                          nobody",
    "     7  MMIO write  0xfee000b0       4  0x0000001f              LAPIC",
    "     7  MMIO read   0xfee000b0       8  0x1122334455667788      x",
    "     7  HLT",
  ]);
});

Deno.test("an exit that its device describes is a row in its words", () => {
  const description = "INT 13h AH=02h: ax 0x201";
  const exit = io({ port: 0xe3 });
  const observed = { number: 7, cpu: 0, exit, fault: undefined, value: 0n, answeredBy: "BIOS" };
  assertEquals(exitRow({ ...observed, description }), `     7  ${description}`);
});
