import {
  asm,
  boot,
  expect,
  hlt,
  type IoapicState,
  type Machine,
  type PicState,
  TimeLimitError,
} from "@vmexit/vmexit";
import { Pic } from "@vmexit/vmexit/devices";
import { localApicState, msiMessage } from "@vmexit/vmexit/x86";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { heldBack } from "../../lib/machine/interrupts/held_back.ts";

const IDLE: PicState = {
  irr: [],
  isr: [],
  imr: [],
  elcr: [],
  vectorBase: 8,
  autoEoi: false,
  lowestPriority: 7,
  specialMask: false,
};
const APIC = { ...localApicState(new Uint8Array(0x400)), enabled: true };
const LINT0 = { ...APIC, lvt: { ...APIC.lvt, lint0: { ...APIC.lvt.lint0, masked: true } } };

/** What is said of PICs, and of a local APIC, with RFLAGS.IF set. */
function said(
  pic: { master?: Partial<PicState>; slave?: Partial<PicState> } | undefined,
  localApic?: typeof APIC,
  enabled = true,
): string[] {
  return heldBack(
    {
      pic: pic && { master: { ...IDLE, ...pic.master }, slave: { ...IDLE, ...pic.slave } },
      ioapic: undefined,
      localApic,
    },
    enabled,
  );
}

Deno.test("what holds interrupts back, in the manuals' terms", () => {
  const noEoi = (irq: number, name: string, isr: string, port: string) =>
    `IRQ ${irq}, which is in service at the ${name} 8259A (ISR ${isr}): it has had no EOI, by port ${port}`;
  const master = "IRQ 1 waits at the master 8259A (IRR 0x02)";
  const slave = "IRQ 8 waits at the slave 8259A (IRR 0x01)";
  assertEquals(said({}), []);
  assertEquals(said({ master: { irr: [1] } }), [master]);
  assertEquals(said({ master: { irr: [1] } }, undefined, false), [
    master,
    "RFLAGS.IF is clear: the CPU takes none",
  ]);
  assertEquals(said({ master: { irr: [1], isr: [0] } }), [
    `${master} behind ${noEoi(0, "master", "0x01", "0x20")}`,
  ]);
  // Of lower priority, or passed over in special mask mode.
  const inService = noEoi(3, "master", "0x08", "0x20").replace(", which is", " is");
  assertEquals(said({ master: { irr: [1], isr: [3] } }), [master, inService]);
  assertEquals(said({ master: { irr: [1], isr: [3], lowestPriority: 1 } }), [
    `${master} behind ${noEoi(3, "master", "0x08", "0x20")}`,
  ]);
  assertEquals(said({ master: { irr: [1], isr: [0], imr: [0], specialMask: true } })[0], master);
  // The cascade is in service as long as the slave has one.
  assertEquals(said({ slave: { irr: [0], isr: [0] }, master: { isr: [2] } }), [
    `${slave} behind ${noEoi(8, "slave", "0x01", "0xa0")}`,
  ]);
  assertEquals(said({ slave: { irr: [0] }, master: { irr: [2], isr: [2] } }), [
    `${slave} behind ${noEoi(2, "master", "0x04", "0x20")}`,
  ]);
  assertEquals(said({ slave: { irr: [0] }, master: { irr: [2], imr: [2] } }), [
    `${slave}: the master masks IRQ 2, by which it is cascaded (IMR 0x04)`,
  ]);
  assertEquals(said({ slave: { irr: [0], imr: [0] }, master: { irr: [4], imr: [4] } }), [
    "IRQ 8, 4 wait, masked at the 8259A (IMR of the master 0x10, of the slave 0x01)",
  ]);
  assertEquals(said({ master: { irr: [1] } }, LINT0), [
    master,
    "the local APIC does not take INTR of the 8259As: LINT0 is masked",
  ]);
});

Deno.test("what a local APIC holds back", () => {
  const eoi = "it has had no EOI, by the EOI register (0xfee000b0, MSR 0x80b)";
  const waits = "vector 0x50 waits at the local APIC (IRR)";
  assertEquals(said(undefined, { ...APIC, irr: [0x50] }), [waits]);
  assertEquals(
    said(undefined, { ...APIC, irr: [0x50] }, false)[1].slice(0, 18),
    "RFLAGS.IF is clear",
  );
  assertEquals(said(undefined, { ...APIC, irr: [0x50], isr: [0x31, 0x58] }), [
    `${waits} behind vector 0x58, which is in service there (ISR): ${eoi}`,
  ]);
  assertEquals(said(undefined, { ...APIC, irr: [0x50], isr: [0x31] }), [
    waits,
    `vector 0x31 is in service at the local APIC (ISR): ${eoi}`,
  ]);
  assertEquals(said(undefined, { ...APIC, irr: [0x50], tpr: 0x50 }), [
    `${waits}: its priority class is not above that of TPR (0x50)`,
  ]);
  assertEquals(said(undefined, { ...APIC, irr: [0x50], enabled: false }), [
    `${waits}, which software has not enabled (SVR, bit 8)`,
  ]);
});

Deno.test("what an IOAPIC says of its pins, and that both controllers mask an IRQ", () => {
  const pin: IoapicState["pins"][number] = {
    raised: true,
    vector: 0x39,
    deliveryMode: "fixed",
    logical: false,
    destination: 0,
    trigger: "level",
    activeLow: false,
    remoteIrr: true,
    masked: false,
  };
  const pins = Array.from({ length: 24 }, () => ({ ...pin, raised: false, masked: true }));
  pins[9] = pin;
  pins[20] = { ...pin, masked: true };
  const pic = { master: { ...IDLE, irr: [4], imr: [4] }, slave: { ...IDLE, irr: [1], imr: [1] } };
  assertEquals(
    heldBack({ pic, ioapic: { id: 0, address: 0, pins }, localApic: undefined }, true),
    [
      "IRQ 4 waits, masked at the 8259A (IMR of the master 0x10, of the slave 0x02), and by the IOAPIC's redirection entry",
      "pin 9 of the IOAPIC is asserted, and its remote IRR is set: vector 0x39 has had no EOI",
      "pin 20 of the IOAPIC is asserted, and masked",
    ],
  );
});

const CASE = asm.file("../../guests/reported/second_pic_without_eoi.asm");

/** Runs the reported guest for two pulses of IRQ 8, and gives what the page says of interrupts. */
function interrupts(vm: Machine, pulse: () => void): string {
  vm.run({ until: "halted" });
  pulse();
  vm.run({ until: "halted" });
  pulse();
  const error = assertThrows(() => {
    vm.run({ until: "halted" });
    expect(vm).toHaveSerialContaining("OK");
  });
  return (error as Error).message.split("\ninterrupts\n")[1]?.split("\nregisters")[0];
}

Deno.test("a hang for want of an EOI to the second PIC is explained, with the kernel's", () => {
  using vm = boot(CASE, { memory: "8M", irqchip: true });
  assertEquals(
    interrupts(vm, () => vm.interrupts.pulse(8)),
    "    IRQ 8 waits at the slave 8259A (IRR 0x01) behind IRQ 8, which is in service at the slave 8259A (ISR 0x01): " +
      "it has had no EOI, by port 0xa0",
  );
});

Deno.test("the same with a Pic among the devices, whose other EOI the log knows", () => {
  const pic = new Pic();
  using vm = boot(CASE, { memory: "8M", devices: [pic] });
  const pulse = () => {
    pic.setLine(8, true);
    pic.setLine(8, false);
  };
  assertMatch(
    interrupts(vm, pulse),
    /^ {4}IRQ 8 waits at the slave 8259A \(IRR 0x01\) behind .* by port 0xa0; port 0x20 got one at exit \d+$/,
  );
  assertEquals(vm.interruptControllers.pic!.slave.isr, [0]);
});

Deno.test("a guest that is stopped by its time limit, and one whose interrupts are disabled", () => {
  const pic = new Pic({ vectors: [0x08, 0x70] });
  using vm = boot(asm`jmp $`, { devices: [pic], timeout: 20 });
  pic.setLine(3, true);
  const spins = assertThrows(() => vm.run(), TimeLimitError);
  assertStringIncludes(
    spins.message,
    "interrupts\n    IRQ 3 waits at the master 8259A (IRR 0x08)\n    RFLAGS.IF is clear: the CPU takes none\n",
  );
});

Deno.test("a local APIC's vector without an EOI", () => {
  using vm = boot(
    asm`
      bits 32
      %include "../../guests/interrupts/interrupts.inc"
      enable_apic
      sti
    again:
      hlt
      jmp again
    on_interrupt:
      iret
    `,
    { irqchip: true, gates: { 0x50: "on_interrupt" }, timeout: 100 },
  );
  vm.run({ until: "halted" });
  vm.interrupts.msi(msiMessage({ vector: 0x50 }));
  vm.run({ until: "halted" });
  vm.interrupts.msi(msiMessage({ vector: 0x50 }));
  const error = assertThrows(() => vm.run({ timeout: 20 }), TimeLimitError);
  assertStringIncludes(
    error.message,
    "    vector 0x50 waits at the local APIC (IRR) behind vector 0x50, which is in service there (ISR)",
  );
});

Deno.test("a guest at another exit than HLT has no such part of the page", () => {
  const pic = new Pic({ vectors: [0x08, 0x70] });
  using vm = boot(asm`out 0x80, al`, { devices: [pic] });
  pic.setLine(3, true);
  const error = assertThrows(() => expect(vm).toExit([hlt()]));
  assertEquals((error as Error).message.includes("IRQ 3"), false);
});
