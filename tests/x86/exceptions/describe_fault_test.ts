import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type DescribedFault,
  describeFault,
  describePageFault,
} from "../../../lib/x86/exceptions/describe_fault.ts";
import { type PageWalk, walkPageTables } from "../../../lib/x86/paging/page_walk.ts";

const AT = { linear: 0x1_0023n };

const LINES: [fault: Omit<DescribedFault, "linear">, line: string][] = [
  [{ vector: 0 }, "#DE at 0x10023: divide error: the divisor is 0, or the quotient does not fit"],
  [{ vector: 1 }, "#DB at 0x10023: debug"],
  [{ vector: 1, dr6: 0x4000n }, "#DB at 0x10023: debug, single step"],
  [{ vector: 1, dr6: 0xffff_0ff5n }, "#DB at 0x10023: debug, breakpoint 0, breakpoint 2"],
  [{ vector: 1, dr6: 0xa000n }, "#DB at 0x10023: debug, access to a debug register, task switch"],
  [{ vector: 2 }, "NMI at 0x10023: non-maskable interrupt"],
  [{ vector: 3 }, "#BP at 0x10023: breakpoint, a trap: rip is behind the instruction"],
  [{ vector: 4 }, "#OF at 0x10023: overflow, a trap: rip is behind the instruction"],
  [{ vector: 5 }, "#BR at 0x10023: bound range exceeded"],
  [{ vector: 6 }, "#UD at 0x10023: invalid opcode"],
  [
    { vector: 6, bytes: new Uint8Array([0x0f, 0x0b]) },
    "#UD at 0x10023: invalid opcode, bytes 0f 0b",
  ],
  [
    { vector: 6, bytes: new Uint8Array([0x0f, 0xff, 1, 2, 3]) },
    "#UD at 0x10023: invalid opcode, bytes 0f ff 01 02 …",
  ],
  [{ vector: 7 }, "#NM at 0x10023: device not available: CR0.EM or CR0.TS is set"],
  [
    { vector: 8, errorCode: 0 },
    "#DF at 0x10023: double fault: another exception could not be delivered",
  ],
  [{ vector: 9 }, "#9 at 0x10023: coprocessor segment overrun"],
  [{ vector: 10, errorCode: 0x18 }, "#TS at 0x10023: error code 0x18, selector 0x18 of the GDT"],
  [{ vector: 11, errorCode: 0x20a }, "#NP at 0x10023: error code 0x20a, gate 0x41 of the IDT"],
  [{ vector: 12, errorCode: 0x1c }, "#SS at 0x10023: error code 0x1c, selector 0x1c of the LDT"],
  [{ vector: 13 }, "#GP at 0x10023: general protection"],
  [{ vector: 13, errorCode: 0 }, "#GP at 0x10023: general protection, error code 0"],
  [{ vector: 13, errorCode: 0x40 }, "#GP at 0x10023: error code 0x40, selector 0x40 of the GDT"],
  [
    { vector: 13, errorCode: 0x103 },
    "#GP at 0x10023: error code 0x103, gate 0x20 of the IDT, while an event from outside was delivered",
  ],
  [
    { vector: 13, errorCode: 1 },
    "#GP at 0x10023: error code 0x1, while an event from outside was delivered",
  ],
  [
    { vector: 13, software: true },
    "int 0xd at 0x10023: a software interrupt (no #GP) for which the guest has no handler",
  ],
  [
    { vector: 0x21, software: true },
    "int 0x21 at 0x10023: a software interrupt for which the guest has no handler",
  ],
  [
    { vector: 0x70 },
    "interrupt 0x70 at 0x10023: an interrupt from outside for which the guest has no handler",
  ],
  [{ vector: 14 }, "#PF at 0x10023: page fault"],
  [
    { vector: 14, errorCode: 2, cr2: 0x4000n },
    "#PF at 0x10023: write to 0x4000, not present",
  ],
  [{ vector: 15 }, "#15 at 0x10023: reserved vector 15"],
  [{ vector: 16 }, "#MF at 0x10023: x87 floating-point error"],
  [{ vector: 17, errorCode: 0 }, "#AC at 0x10023: alignment check"],
  [{ vector: 18 }, "#MC at 0x10023: machine check"],
  [{ vector: 19 }, "#XM at 0x10023: SIMD floating-point exception"],
  [
    { vector: 21, errorCode: 3 },
    "#CP at 0x10023: error code 0x3, indirect jump or call to no ENDBRANCH",
  ],
  [{ vector: 21, errorCode: 9 }, "#CP at 0x10023: error code 0x9"],
  [{ vector: 29, errorCode: 0x72 }, "#VC at 0x10023: VMM communication, error code 0x72"],
];

Deno.test.each(LINES)("%o is told as %s", (fault, line) => {
  assertEquals(describeFault({ ...fault, ...AT }), line);
});

Deno.test("the instruction stands behind the address", () => {
  const fault = { vector: 14, errorCode: 2, cr2: 0x4000n, walk: walk([0n]), ...AT };
  assertEquals(
    describeFault(fault, "mov [rax], bl"),
    "#PF at 0x10023 (`mov [rax], bl`): write to 0x4000, not present at PML4E",
  );
});

const P = 1n;
const RW = 2n;
const US = 4n;
const XD = 1n << 63n;
const ALL = P | RW | US;

/** A walk whose entries are these, from the PML4E down. */
function walk(entries: readonly bigint[]): PageWalk {
  let index = 0;
  return walkPageTables({ cr3: 0x1000n, linear: 0x4000, read: () => entries[index++] });
}

const PAGE_FAULTS: [errorCode: number, entries: bigint[], text: string][] = [
  [0x0, [ALL, ALL, 0n], "read from 0x4000, not present at PDE"],
  [0x2, [0n], "write to 0x4000, not present at PML4E"],
  [0x4, [ALL, 0n], "user read from 0x4000, not present at PDPTE"],
  [0x10, [ALL, ALL, ALL, 0n], "fetch from 0x4000, not present at PTE"],
  [0x3, [ALL, ALL, ALL, P], "write to 0x4000, read-only at PTE"],
  [0x3, [ALL, P | US, ALL, ALL], "write to 0x4000, read-only at PDPTE"],
  [0x5, [ALL, ALL, P | RW, ALL], "user read from 0x4000, supervisor only at PDE"],
  [0x7, [ALL, ALL, P | US, P | RW], "user write to 0x4000, supervisor only at PTE"],
  [0x7, [ALL, ALL, P | US, ALL], "user write to 0x4000, read-only at PDE"],
  [0x11, [ALL, ALL, ALL, ALL | XD], "fetch from 0x4000, no-execute at PTE"],
  [0x15, [ALL, ALL | XD, ALL, ALL], "user fetch from 0x4000, no-execute at PDPTE"],
  [0x11, [ALL, ALL, ALL, ALL], "fetch from 0x4000, a user page, while CR4.SMEP is set"],
  [0x1, [ALL, ALL, ALL, ALL], "read from 0x4000, a user page, while CR4.SMAP is set"],
  [0x9, [ALL | 0x80n], "read from 0x4000, reserved bit set at PML4E"],
  [0x25, [ALL, ALL, ALL, ALL], "user read from 0x4000, refused by its protection key"],
  [0x46, [ALL, 0n], "user shadow-stack write to 0x4000, not present at PDPTE"],
  [0x8007, [ALL, ALL, ALL, ALL], "user write to 0x4000, refused by SGX"],
  [0x8000_0007 | 0, [ALL, ALL, ALL, ALL], "user write to 0x4000, refused by the reverse-map table"],
  [0x5, [ALL, ALL, ALL, ALL], "user read from 0x4000, present, but refused"],
  [
    0x2,
    [ALL, ALL, ALL, ALL],
    "write to 0x4000, not present when it was tried, though the page tables map it (a stale TLB entry?)",
  ],
];

Deno.test.each(PAGE_FAULTS)("error code %i with entries %o: %s", (errorCode, entries, text) => {
  assertEquals(describePageFault({ errorCode, cr2: 0x4000n, walk: walk(entries) }), text);
});

Deno.test("whatever the error code and the tables, there is a line", () => {
  const entry = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(fc.property(
    fc.nat(31),
    fc.option(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { nil: undefined }),
    fc.array(entry, { minLength: 4, maxLength: 4 }),
    (vector, errorCode, entries) => {
      const line = describeFault({ vector, errorCode, cr2: 0x4000n, walk: walk(entries), ...AT });
      return / at 0x10023: ./.test(line) && !line.includes("undefined") && !line.includes("\n");
    },
  ));
});
