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
import { wakeSources } from "../../lib/machine/interrupts/wake_sources.ts";

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
  const open = pins.map((each, number) => ({ ...each, masked: number < 18 }));
  const woken = (pins: typeof open) =>
    wakeSources({ pic: undefined, ioapic: { id: 0, address: 0, pins }, localApic: APIC })[0];
  assertEquals(
    woken(open),
    "pin 18 (vector 0x39), pin 19 (vector 0x39), pin 20 (vector 0x39), pin 21 (vector 0x39) and 2 more of the IOAPIC",
  );
  assertEquals(
    woken(pins.map((each) => ({ ...each, masked: true }))),
    "no pin of the IOAPIC, which masks all",
  );
});

Deno.test("what could wake a CPU that waits in HLT", () => {
  const none = { pic: undefined, ioapic: undefined, localApic: undefined };
  assertEquals(wakeSources(none), [
    "no interrupt controller is there to wake it: vm.inject.interrupt(vector) does",
  ]);
  const ofPic = (master: Partial<PicState>, slave: Partial<PicState>, localApic?: typeof APIC) =>
    wakeSources({
      ...none,
      pic: { master: { ...IDLE, ...master }, slave: { ...IDLE, ...slave } },
      localApic,
    });
  assertEquals(ofPic({ vectorBase: 0 }, { vectorBase: 0, imr: [1, 2] }), [
    "IRQ 0, 1, 3–8, 11–15 by the 8259As (which nobody has initialized)",
  ]);
  assertEquals(ofPic({ vectorBase: 0x20, imr: [0, 2, 4, 5, 6, 7] }, { vectorBase: 0x28 }), [
    "IRQ 1, 3 by the 8259As (vectors from 0x20 and 0x28 on)",
  ]);
  const all = [0, 1, 2, 3, 4, 5, 6, 7];
  assertEquals(ofPic({ imr: all }, {}), ["no IRQ by the 8259As, which mask all"]);
  assertEquals(
    ofPic({}, {}, LINT0)[0],
    "no IRQ by the 8259As: LINT0 of its local APIC does not take their INTR",
  );

  const ofTimer = (masked: boolean, timer: Partial<typeof APIC["timer"]>) => {
    const lvt = { ...APIC.lvt, timer: { ...APIC.lvt.timer, masked, vector: 0x40 } };
    return wakeSources({
      ...none,
      localApic: { ...APIC, lvt, timer: { ...APIC.timer, ...timer } },
    });
  };
  const timer = "the timer of its local APIC";
  assertEquals(ofTimer(true, {}), [`not ${timer}, which is masked`]);
  assertEquals(ofTimer(false, {}), [`not ${timer}, which was not started: its initial count is 0`]);
  assertEquals(ofTimer(false, { initialCount: 9 }), [
    `not ${timer}, which has been: it is one-shot, and its count is 0`,
  ]);
  assertEquals(ofTimer(false, { initialCount: 9, currentCount: 4, mode: "periodic" }), [
    `${timer} (vector 0x40), periodic, with 4 of 9 to go`,
  ]);
  assertEquals(ofTimer(false, { mode: "TSC deadline" }), [
    `${timer} (vector 0x40) at its TSC deadline`,
  ]);
  assertEquals(wakeSources({ ...none, localApic: { ...APIC, enabled: false } }), [
    "no message, no IPI, no timer by its local APIC, which software has not enabled (SVR, bit 8)",
  ]);
});

Deno.test("a guest that waits for what never comes is told what could wake it", () => {
  using vm = boot(
    asm`
      mov al, 0xfd
      out 0x21, al
      sti
      hlt
      jmp $
    `,
    { irqchip: true, timeout: 50 },
  );
  const { message } = assertThrows(() => vm.run(), TimeLimitError);
  assertStringIncludes(
    message,
    "interrupts\n    none waits. What could wake the CPU, whose RFLAGS.IF is set:\n" +
      "        IRQ 1 by the 8259As (which nobody has initialized)\n" +
      "        no pin of the IOAPIC, which masks all\n" +
      "        no message, no IPI, no timer by its local APIC, which software has not enabled (SVR, bit 8)\n",
  );
  assertMatch(message, /→ +\d+ │ hlt\n/);
  // A guest that has halted with interrupts disabled has come to its end.
  using ended = boot(asm`hlt`, { irqchip: true });
  ended.run();
  const wrong = assertThrows(() => expect(ended).toHaveRegisters({ al: 1 }), Error).message;
  assertEquals(wrong.includes("interrupts\n"), false);
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
