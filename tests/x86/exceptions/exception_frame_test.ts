import { assertEquals } from "@std/assert";
import { exceptionFrame, type FrameReading } from "../../../lib/x86/exceptions/exception_frame.ts";

const RF = 1n << 16n;
const VM = 1n << 17n;

function frame(slots: bigint[], reading: Partial<FrameReading>) {
  return exceptionFrame({
    format: "32-bit",
    hasErrorCode: false,
    rsp: 0x8000n,
    cpl: 0,
    rflags: 0x2n,
    smallStack: false,
    slot: (index) => slots[index],
    ...reading,
  });
}

Deno.test("real mode: IP, CS, FLAGS; SP wraps, and the upper halves stay", () => {
  assertEquals(
    frame([0x501n, 0x10n, 0x246n], {
      format: "real",
      rsp: 0x1234_fffcn,
      rflags: 0x20_0002n,
      smallStack: true,
    }),
    { rip: 0x501n, cs: 0x10, rflags: 0x20_0246n, rsp: 0x1234_0002n },
  );
});

Deno.test("a gate of 16 bits has an error code of 16 bits", () => {
  assertEquals(
    frame([0x40n, 0x8001n, 8n, 0x2n], { format: "16-bit", hasErrorCode: true }),
    { errorCode: 0x40, rip: 0x8001n, cs: 8, rflags: 2n, rsp: 0x8008n },
  );
});

Deno.test("32 bits at the same level: the stack is the program's", () => {
  assertEquals(frame([0x1_0023n, 8n, 0x2n | RF], {}), {
    rip: 0x1_0023n,
    cs: 8,
    rflags: 2n,
    rsp: 0x800cn,
  });
});

Deno.test("32 bits from CPL 3: SS:ESP are in the frame", () => {
  assertEquals(frame([4n, 0x1_0023n, 0x33n, 0x202n, 0x1_0000n, 0x3bn], { hasErrorCode: true }), {
    errorCode: 4,
    rip: 0x1_0023n,
    cs: 0x33,
    rflags: 0x202n,
    rsp: 0x1_0000n,
    ss: 0x3b,
  });
});

Deno.test("from virtual-8086 mode all segments are in the frame, whatever CS's low bits are", () => {
  assertEquals(frame([1n, 0x1000n, VM | 2n, 0xfff0n, 0x900n, 1n, 2n, 3n, 4n], {}), {
    rip: 1n,
    cs: 0x1000,
    rflags: VM | 2n,
    rsp: 0xfff0n,
    ss: 0x900,
    data: { es: 1, ds: 2, fs: 3, gs: 4 },
  });
});

Deno.test("64 bits: SS:RSP are in the frame at every level", () => {
  const slots = [0xffff_8000_0000_0000n, 8n, 0x2n, 0xffff_8000_0000_1000n, 0n];
  assertEquals(frame(slots, { format: "64-bit" }), {
    rip: 0xffff_8000_0000_0000n,
    cs: 8,
    rflags: 2n,
    rsp: 0xffff_8000_0000_1000n,
    ss: 0,
  });
});
