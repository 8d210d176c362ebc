import { assertEquals, assertThrows } from "@std/assert";
import {
  EXIT_REASON,
  kvm_regs,
  kvm_run,
  kvm_sregs,
  kvm_sync_regs,
  KVM_SYNC_X86,
  kvm_vcpu_events,
  type KvmRun,
  type Writable,
} from "@vmexit/vmexit/abi";
import type { AnswerFields } from "@vmexit/vmexit/kvm";
import type { Mapping } from "../../lib/ffi/handles.ts";
import { KvmRunPage } from "../../lib/kvm/kvm_run_page.ts";

const PAGE = 4096;

/** A page whose every byte is set, as an exit before may have left it, with these members. */
function page(run: Writable<KvmRun>): { page: KvmRunPage; view: DataView; read(): KvmRun } {
  const view = new DataView(new Uint8Array(2 * PAGE).fill(0xee).buffer);
  kvm_run.write(view, 0, run);
  const mapping = { view, bytes: new Uint8Array(view.buffer), words: new Uint32Array(view.buffer) };
  return {
    page: new KvmRunPage(mapping as unknown as Mapping),
    view,
    read: () => kvm_run.read(view),
  };
}

const MMIO_BYTES = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
const MMIO_WORDS: [len: number, low: number, high: number][] = [
  [1, 0x11, 0],
  [2, 0x2211, 0],
  [3, 0x33_2211, 0],
  [4, 0x4433_2211, 0],
  [5, 0x4433_2211, 0x55],
  [8, 0x4433_2211, 0x8877_6655],
];
Deno.test.each(MMIO_WORDS)(
  "an MMIO write of %i bytes has those bytes, and none that an earlier one has left behind them",
  (len, low, high) => {
    const { page: run } = page({
      exit_reason: EXIT_REASON.MMIO,
      mmio: { phys_addr: 0x1_2345_6000, data: MMIO_BYTES, len, is_write: 1 },
    });
    assertEquals(
      [run.mmioAddress, run.mmioLength, run.mmioIsWrite, run.mmioLow, run.mmioHigh],
      [0x1_2345_6000, len, true, low, high],
    );
  },
);

Deno.test("an MMIO read is answered by words or by bytes", () => {
  const { page: run, read } = page({
    exit_reason: EXIT_REASON.MMIO,
    mmio: { len: 8, is_write: 0 },
  });
  assertEquals(run.mmioIsWrite, false);
  run.setMmioWords(0x4433_2211, 0x8877_6655);
  assertEquals([...read().mmio.data], MMIO_BYTES);
  run.setMmioData(Uint8Array.of(1, 2));
  assertEquals([...read().mmio.data], [1, 2, ...MMIO_BYTES.slice(2)]);
});

Deno.test("the elements of a port access lie one behind the other, where the kernel says", () => {
  for (
    const [size, values] of [[1, [0xee, 0xfe]], [2, [0x1234, 0xfedc]], [4, [
      1,
      0xffff_fffe,
    ]]] as const
  ) {
    const { page: run, view } = page({
      exit_reason: EXIT_REASON.IO,
      io: { direction: 1, size, port: 0x3f8, count: 2, data_offset: PAGE },
    });
    assertEquals(
      [run.ioDirection, run.ioSize, run.ioPort, run.ioCount],
      [1, size, 0x3f8, 2],
    );
    values.forEach((value, index) => run.setIoElement(index, size, value));
    assertEquals(values.map((_, index) => run.ioElement(index, size)), [...values]);
    assertEquals(view.getUint8(PAGE + 2 * size), 0xee);
    run.setIoData(Uint8Array.of(7));
    assertEquals(view.getUint8(PAGE), 7);
  }
});

Deno.test("what an answer leaves out is 0, whatever an earlier exit has left there", () => {
  const msr = { error: 1, reason: 1, index: 0x10, data: 0xaaaa };
  const read = page({ exit_reason: EXIT_REASON.X86_RDMSR, msr });
  read.page.answer({ data: 5 });
  assertEquals([read.read().msr.data, read.read().msr.error], [5n, 0]);
  read.page.answer({ error: 1 });
  assertEquals([read.read().msr.data, read.read().msr.error], [0n, 1]);
  const write = page({ exit_reason: EXIT_REASON.X86_WRMSR, msr });
  write.page.answer({});
  // What the guest writes is its own.
  assertEquals([write.read().msr.data, write.read().msr.error], [0xaaaan, 0]);
  const call = page({ exit_reason: EXIT_REASON.HYPERCALL, hypercall: { ret: 7 } });
  call.page.answer({ ret: 0 });
  assertEquals(call.read().hypercall.ret, 0n);
});

Deno.test("an answer that cannot be is an error, and nothing of it is written", () => {
  const { page: run, read } = page({
    exit_reason: EXIT_REASON.X86_RDMSR,
    msr: { error: 1, data: 0xaaaa },
  });
  const refused = (
    answer: AnswerFields,
    error: typeof TypeError | typeof RangeError,
    text: string,
  ) => {
    assertThrows(() => run.answer(answer), error as typeof RangeError, text);
    assertEquals([read().msr.data, read().msr.error], [0xaaaan, 1]);
  };
  refused({ data: 1, ret: 1 }, TypeError, "by ret: it takes data and error");
  refused(
    { data: 1, error: 256 },
    RangeError,
    "with error 256: it is not a whole number of 8 bits",
  );
  refused({}, TypeError, "Cannot answer an exit by nothing: its guest waits for data or error");
  const table: Record<string, number> = {};
  refused({ data: table["typo"] }, TypeError, "with data undefined: give a value");
  refused({ data: 1, error: table["typo"] }, TypeError, "with error undefined");
  refused({ data: 2n ** 64n }, RangeError, "is not a whole number of 64 bits");
  refused({ data: -1 }, RangeError, "is not a whole number of 64 bits");
  refused({ data: 1.5 }, RangeError, "is not a whole number of 64 bits");
  run.exitReason = EXIT_REASON.HLT;
  assertThrows(() => run.answer({}), TypeError, "Cannot answer HLT");
});

Deno.test("what the kernel says beside the exit, and what it is told", () => {
  const { page: run, read } = page({
    ready_for_interrupt_injection: 1,
    if_flag: 0,
    cr8: 9,
    apic_base: 0xfee0_0900,
  });
  assertEquals(
    [run.readyForInterruptInjection, run.ifFlag, run.cr8, run.apicBase],
    [true, false, 9n, 0xfee0_0900n],
  );
  run.cr8 = 3n;
  run.exitReason = EXIT_REASON.INTR;
  run.immediateExit = true;
  run.requestInterruptWindow = true;
  const { cr8, exit_reason, immediate_exit, request_interrupt_window } = read();
  assertEquals([cr8, exit_reason, immediate_exit, request_interrupt_window], [3n, 10, 1, 1]);
  run.immediateExit = false;
  run.requestInterruptWindow = false;
  assertEquals([read().immediate_exit, read().request_interrupt_window], [0, 0]);
});

Deno.test("an MSR's exit: its number, why it is one, the value in halves, and the answer", () => {
  const { page: run, read } = page({
    exit_reason: EXIT_REASON.X86_WRMSR,
    msr: { error: 0, reason: 4, index: 0xc000_0082, data: 0x1122_3344_5566_7788n },
  });
  assertEquals(
    [run.msrIndex, run.msrReason, run.msrError, run.msrLow, run.msrHigh, run.msrData],
    [0xc000_0082, 4, 0, 0x5566_7788, 0x1122_3344, 0x1122_3344_5566_7788n],
  );
  run.msrError = 1;
  run.msrData = 9n;
  assertEquals([read().msr.error, read().msr.data], [1, 9n]);
});

Deno.test("the registers that KVM leaves in the page, and those that are left for it", () => {
  const { page: run, read } = page({ kvm_valid_regs: 0, kvm_dirty_regs: 0 });
  run.sharedRegisters = KVM_SYNC_X86.REGS;
  assertEquals([read().kvm_valid_regs, read().kvm_dirty_regs], [KVM_SYNC_X86.REGS, 0n]);
  const bytes = new Uint8Array(kvm_regs.size);
  run.readSharedRegs(bytes);
  assertEquals(kvm_regs.read(new DataView(bytes.buffer)), read().s.regs.regs);

  kvm_regs.write(new DataView(bytes.buffer), 0, { rbx: 7n, rflags: 2n });
  run.leaveRegs(bytes);
  const { kvm_dirty_regs, s: { regs: { regs, sregs } } } = read();
  assertEquals([kvm_dirty_regs, regs.rax, regs.rbx, regs.rflags], [
    1n,
    0xeeee_eeee_eeee_eeeen,
    7n,
    2n,
  ]);
  assertEquals(sregs.cr2, 0xeeee_eeee_eeee_eeeen);
});

Deno.test("all registers that are left in the page, and those that are taken back", () => {
  const { page: run, read } = page({ kvm_dirty_regs: 0 });
  assertEquals([run.hasLeft, run.takeBack("regs")], [false, undefined]);
  const all = new Uint8Array(kvm_sync_regs.size);
  const value = { regs: { rbx: 7n }, sregs: { cr2: 8n, cr8: 9n }, events: { flags: 10 } };
  kvm_sync_regs.write(new DataView(all.buffer), 0, value);
  run.leaveAll(all);
  const { kvm_dirty_regs, s: { regs: left } } = read();
  assertEquals(kvm_dirty_regs, KVM_SYNC_X86.VALID_FIELDS);
  assertEquals(left, kvm_sync_regs.read(new DataView(all.buffer)));
  assertEquals(run.cr8 & 0xffn, 9n);
  for (
    const [set, layout] of [["sregs", kvm_sregs], ["regs", kvm_regs], [
      "events",
      kvm_vcpu_events,
    ]] as const
  ) {
    assertEquals(run.hasLeft, true);
    const bytes = run.takeBack(set)!;
    assertEquals(layout.read(new DataView(bytes.buffer)) as unknown, left[set]);
  }
  assertEquals([run.hasLeft, read().kvm_dirty_regs], [false, 0n]);
});
