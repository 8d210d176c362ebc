import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EXIT_REASON, type ExitReasonName } from "../../../lib/kvm/abi/exit_reasons.ts";
import { kvm_run } from "../../../lib/kvm/abi/structs/run.ts";
import { decodeExit } from "../../../lib/kvm/exits/decode_exit.ts";
import { describeExit } from "../../../lib/kvm/exits/describe_exit.ts";
import { endsRun, goesOn } from "../../../lib/kvm/exits/exit_table.ts";
import { EXIT_CASES } from "./exit_cases.ts";

const PAGE = 4096;
/** What a vCPU maps on x86: `kvm_run`, the I/O data, the coalesced ring. */
const MAPPING = 3 * PAGE;
const NO_FLAGS = { smm: false, busLock: false, guestMode: false };

const mapping = () => new DataView(new ArrayBuffer(MAPPING));

for (const { reason, run, payload, line } of EXIT_CASES) {
  Deno.test(`an exit decodes whole: ${line}`, () => {
    const number = EXIT_REASON[reason as ExitReasonName];
    const view = mapping();
    kvm_run.write(view, 0, { ...run, exit_reason: number });
    const exit = decodeExit(view);
    assertEquals(exit as unknown, { reason, number, runFlags: NO_FLAGS, ...payload });
    assertEquals(describeExit(exit), line);
  });
}

Deno.test("there is a case for every exit reason", () => {
  const cases = new Set(["IO", ...EXIT_CASES.map(({ reason }) => reason)]);
  assertEquals(Object.keys(EXIT_REASON).filter((name) => !cases.has(name)), []);
});

const REASONS = Object.keys(EXIT_REASON) as ExitReasonName[];
const exitOf = (reason: ExitReasonName) => {
  const view = mapping();
  kvm_run.write(view, 0, { exit_reason: EXIT_REASON[reason] });
  return decodeExit(view);
};

Deno.test("a guest goes on from its accesses and from what a test asked for, and from nothing else", () => {
  assertEquals(REASONS.filter((reason) => goesOn(exitOf(reason))), [
    "IO",
    "HYPERCALL",
    "DEBUG",
    "MMIO",
    "IRQ_WINDOW_OPEN",
    "SET_TPR",
    "TPR_ACCESS",
    "IOAPIC_EOI",
    "HYPERV",
    "X86_RDMSR",
    "X86_WRMSR",
    "DIRTY_RING_FULL",
    "X86_BUS_LOCK",
    "XEN",
    "NOTIFY",
  ]);
});

Deno.test("a run ends with HLT and with what a test asked for, and with nothing else; not with a triple fault", () => {
  assertEquals(REASONS.filter((reason) => endsRun(exitOf(reason))), [
    "DEBUG",
    "HLT",
    "IRQ_WINDOW_OPEN",
  ]);
});

Deno.test("an exit that this version does not know neither goes on nor ends a run", () => {
  const view = mapping();
  kvm_run.write(view, 0, { exit_reason: 999 });
  const exit = decodeExit(view);
  assertEquals([exit.reason, goesOn(exit), endsRun(exit)], ["UNKNOWN_TO_VMEXIT", false, false]);
});

interface Io {
  readonly direction: number;
  readonly size: number;
  readonly port: number;
  readonly count: number;
  readonly data: readonly number[];
}

function ioMapping({ data, ...io }: Io): DataView {
  const view = mapping();
  kvm_run.write(view, 0, { exit_reason: EXIT_REASON.IO, io: { ...io, data_offset: PAGE } });
  new Uint8Array(view.buffer).set(data, PAGE);
  return view;
}

const text = (value: string) => [...new TextEncoder().encode(value)];

const IO_CASES: [io: Io, data: number[], line: string][] = [
  [
    { direction: 1, size: 1, port: 0x3f8, count: 1, data: [0x41, 0xff] },
    [0x41],
    'IO out 0x3f8 byte 0x41 "A"',
  ],
  [
    { direction: 1, size: 2, port: 0x1f0, count: 1, data: [0x34, 0x12] },
    [0x34, 0x12],
    "IO out 0x1f0 word 0x1234",
  ],
  [
    { direction: 1, size: 4, port: 0xcf8, count: 1, data: [0, 8, 0, 0x80] },
    [0, 8, 0, 0x80],
    "IO out 0xcf8 dword 0x80000800",
  ],
  [
    { direction: 1, size: 1, port: 0x1000, count: 6, data: text("Hello\n") },
    text("Hello\n"),
    'IO out 0x1000 byte × 6 "Hello\\n"',
  ],
  [
    { direction: 1, size: 2, port: 0x80, count: 2, data: [1, 2, 3, 4] },
    [1, 2, 3, 4],
    "IO out 0x80 word × 2 01 02 03 04",
  ],
  [{ direction: 0, size: 1, port: 0x60, count: 1, data: [7] }, [0], "IO in 0x60 byte"],
  [
    { direction: 0, size: 4, port: 0x1f0, count: 2, data: [7] },
    [0, 0, 0, 0, 0, 0, 0, 0],
    "IO in 0x1f0 dword × 2",
  ],
];
for (const [io, data, line] of IO_CASES) {
  Deno.test(`an exit decodes whole: ${line}`, () => {
    const exit = decodeExit(ioMapping(io));
    const { size, port, count } = io;
    assertEquals(exit, {
      reason: "IO",
      number: 2,
      runFlags: NO_FLAGS,
      direction: io.direction === 1 ? "out" : "in",
      size,
      port,
      count,
      data: new Uint8Array(data),
    });
    assertEquals(describeExit(exit), line);
  });
}

Deno.test("a long string of bytes is cut in its line, and says so", () => {
  const data = Array.from({ length: 100 }, () => 0x61);
  const line = describeExit(
    decodeExit(ioMapping({ direction: 1, size: 1, port: 1, count: 100, data })),
  );
  assertEquals(line, `IO out 0x1 byte × 100 "${"a".repeat(48)}" … (100 bytes)`);
});

Deno.test("data that would reach past the mapping is cut at its end", () => {
  const ends: [offset: bigint, left: number][] = [
    [BigInt(MAPPING - 2), 2],
    [BigInt(MAPPING), 0],
    [2n ** 64n - 1n, 0],
  ];
  for (const [data_offset, left] of ends) {
    const view = mapping();
    const io = { direction: 1, size: 255, count: 0xffff_ffff, data_offset };
    kvm_run.write(view, 0, { exit_reason: EXIT_REASON.IO, io });
    const exit = decodeExit(view);
    assertEquals(exit.reason === "IO" && exit.data.length, left);
  }
});

Deno.test("the bytes of an exit are copies: the next exit does not change them", () => {
  const view = ioMapping({ direction: 1, size: 1, port: 1, count: 1, data: [1] });
  const io = decodeExit(view);
  kvm_run.write(view, 0, {
    exit_reason: 6,
    mmio: { phys_addr: 0, len: 1, is_write: 1, data: [1] },
  });
  const mmio = decodeExit(view);
  kvm_run.write(view, 0, { exit_reason: 0xffff });
  const unknown = decodeExit(view);
  new Uint8Array(view.buffer).fill(0xff);
  assertEquals(io.reason === "IO" && io.data[0], 1);
  assertEquals(mmio.reason === "MMIO" && mmio.data[0], 1);
  assertEquals(unknown.reason === "UNKNOWN_TO_VMEXIT" && unknown.payload[8], 1);
});

Deno.test("a number that is not in the header comes with its bytes", () => {
  const view = mapping();
  kvm_run.write(view, 0, { exit_reason: 0xbeef, padding: [1, 2, 3] });
  const exit = decodeExit(view);
  const payload = new Uint8Array(256);
  payload.set([1, 2, 3]);
  assertEquals(exit, { reason: "UNKNOWN_TO_VMEXIT", number: 0xbeef, runFlags: NO_FLAGS, payload });
  assertEquals(
    describeExit(exit),
    "exit reason 48879, which this version of vmexit does not know",
  );
});

Deno.test("the flags of the run are decoded, and said in the line", () => {
  const view = mapping();
  kvm_run.write(view, 0, { exit_reason: EXIT_REASON.HLT, flags: 0b111 });
  const exit = decodeExit(view);
  assertEquals(exit.runFlags, { smm: true, busLock: true, guestMode: true });
  assertEquals(describeExit(exit), "HLT (in SMM, bus locked, in a nested guest)");
});

Deno.test("a view smaller than kvm_run is refused", () => {
  assertThrows(
    () => decodeExit(new DataView(new ArrayBuffer(MAPPING), 0, kvm_run.size - 1)),
    RangeError,
    "Cannot decode an exit from 2351 bytes: struct kvm_run has 2352",
  );
});

Deno.test("no content of the mapping makes decoding or describing throw", () => {
  const reasons = fc.oneof(
    fc.constantFrom(...Object.values(EXIT_REASON)),
    fc.integer({ min: 0, max: 0xffff_ffff }),
  );
  const content = fc.uint8Array({ minLength: kvm_run.size, maxLength: kvm_run.size });
  const pages = fc.integer({ min: 1, max: 3 });
  fc.assert(
    fc.property(content, reasons, pages, (bytes, reason, count) => {
      const buffer = new Uint8Array(count * PAGE);
      buffer.set(bytes);
      const view = new DataView(buffer.buffer);
      view.setUint32(kvm_run.offsetOf("exit_reason"), reason, true);
      const exit = decodeExit(view);
      assertEquals(exit.number, reason);
      const line = describeExit(exit);
      assertEquals(line.includes("undefined") || line.includes("\n"), false, line);
    }),
    { numRuns: 500 },
  );
});
