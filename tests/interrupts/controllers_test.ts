import {
  asm,
  type AsmSource,
  boot,
  type BootOptions,
  expect,
  hlt,
  type Machine,
  portOut,
  TimeLimitError,
} from "@vmexit/vmexit";
import { msiMessage } from "@vmexit/vmexit/x86";
import { assert, assertEquals, assertGreaterOrEqual, assertThrows } from "@std/assert";

const VECTOR = 0x50;
/** A pin of the IOAPIC that is no line of the PICs. */
const PIN = 16;
/** What the handler of {@linkcode vector0x50} writes to, each time. */
const TAKEN = 0x10;
const SPURIOUS_VECTOR = 0xff;

/** A guest that runs `body` with the local APIC on, and takes vector 0x50. */
function vector0x50(body: AsmSource, options: Partial<BootOptions> = {}): Machine {
  const guest = asm`
    bits 32
    %include "../../guests/interrupts/interrupts.inc"
    enable_apic
    ${body}
    cli
    hlt

  on_interrupt:
    inc byte [taken]
    mov al, [taken]
    out ${TAKEN}, al
    end_of_interrupt
    iret

  taken: db 0
  `;
  const vm = boot(guest, {
    irqchip: true,
    gates: { [VECTOR]: "on_interrupt" },
    ...options,
  } as BootOptions);
  vm.ports.on(TAKEN, { name: "taken", write: () => {} });
  return vm;
}

/** Waits in HLT until the handler has run a number of times. */
const wait = (times: number) =>
  asm`
    sti
  .wait:
    hlt
    cmp byte [taken], ${times}
    jb .wait
  `;

function taken(vm: Machine): number {
  return vm.memory.u8("taken");
}

Deno.test("a real-mode guest takes ticks of the PIT through the PIC", () => {
  using vm = boot(asm.file("../../guests/interrupts/pit_pic.asm"), { irqchip: true, pit: true });
  expect(vm).toExit([hlt()]);
  // More of them may have come before the guest disabled interrupts.
  assertGreaterOrEqual(vm.memory.u8("ticks"), 3);
  const { master } = vm.interrupts.pic;
  assertEquals([master.vectorBase, master.imr, master.isr], [0x20, [1, 2, 3, 4, 5, 6, 7], []]);
});

Deno.test("a long-mode guest takes ticks of the PIT through the IOAPIC", () => {
  using vm = boot(asm.file("../../guests/interrupts/pit_ioapic.asm"), {
    mode: "long",
    irqchip: true,
    pit: true,
    gates: { 0x40: "on_tick" },
    mappings: [
      { linear: 0x40000000, physical: 0xfec00000, size: 0x1000 },
      { linear: 0x40001000, physical: 0xfee00000, size: 0x1000 },
    ],
  });
  vm.run();
  expect(vm).toBeHalted();
  assertGreaterOrEqual(vm.memory.u8("ticks"), 3);
  const { vector, masked, trigger, deliveryMode, destination } = vm.interrupts.ioapic.pins[0];
  assertEquals(
    { vector, masked, trigger, deliveryMode, destination },
    { vector: 0x40, masked: false, trigger: "edge", deliveryMode: "fixed", destination: 0 },
  );
});

Deno.test("an edge-triggered pin interrupts once each time its line rises", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    ${wait(2)}
  `);
  vm.run({ until: "halted" });
  vm.interrupts.raise(PIN);
  vm.interrupts.raise(PIN);
  vm.run({ until: "halted" });
  assertEquals([taken(vm), vm.mpState], [1, "HALTED"]);
  vm.interrupts.lower(PIN);
  vm.interrupts.pulse(PIN);
  assertEquals(vm.localApic.irr, [VECTOR]);
  vm.run();
  expect(vm).toHaveFlags({ if: false });
  assertEquals([taken(vm), vm.localApic.irr], [2, []]);
});

Deno.test("a level-triggered pin interrupts again after each EOI, until its line is lowered", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR} | IOAPIC_LEVEL
    ${wait(3)}
  `);
  const before = vm.interrupts.ioapic.pins[PIN];
  assertEquals([before.trigger, before.masked], ["edge", true]);
  const seen: unknown[] = [];
  vm.interrupts.raise(PIN);
  for (const { exit } of vm.exits()) {
    if (exit.reason !== "IO") continue;
    const { remoteIrr, raised, trigger } = vm.interrupts.ioapic.pins[PIN];
    seen.push([remoteIrr, raised, trigger, vm.localApic.isr, vm.localApic.tmr]);
    if (seen.length === 3) vm.interrupts.lower(PIN);
  }
  expect(vm).toBeHalted();
  assertEquals(taken(vm), 3);
  assertEquals(seen, Array(3).fill([true, true, "level", [VECTOR], [VECTOR]]));
  assertEquals(vm.interrupts.ioapic.pins[PIN].remoteIrr, false);
});

Deno.test("an eventfd with resample holds its line until the guest ends the interrupt, and counts it", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR} | IOAPIC_LEVEL
    ${wait(2)}
  `);
  using event = vm.interrupts.eventfd(PIN, { resample: true });
  for (const times of [1, 2]) {
    event.signal();
    vm.run({ until: "halted" });
    assertEquals([taken(vm), event.resampled], [times, times]);
    assertEquals(vm.interrupts.ioapic.pins[PIN].raised, false);
  }
});

Deno.test("an eventfd raises its pin each time it is signalled", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    ${wait(2)}
  `);
  using event = vm.interrupts.eventfd(PIN);
  vm.run({ until: "halted" });
  event.signal();
  vm.run({ until: "halted" });
  event.signal();
  vm.run();
  assertEquals(taken(vm), 2);
});

Deno.test("another thread wakes a guest that waits in HLT, through the eventfd's descriptor", async () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    ${wait(1)}
  `);
  using event = vm.interrupts.eventfd(PIN);
  const worker = new Worker(import.meta.resolve("./signal_worker.ts"), { type: "module" });
  try {
    await new Promise((ready) => worker.onmessage = ready);
    worker.postMessage({ fd: event.fd, after: 30 });
    vm.run();
    assertEquals(taken(vm), 1);
  } finally {
    worker.terminate();
  }
});

Deno.test("a message interrupts the local APIC that it is for, and wakes the guest", () => {
  using vm = vector0x50(wait(1));
  assertEquals(vm.interrupts.msi(msiMessage({ vector: VECTOR })), false, "the APIC is not on yet");
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  assertEquals(vm.interrupts.msi(msiMessage({ vector: VECTOR, destination: 9 })), false);
  assertEquals(vm.mpState, "HALTED");
  assertEquals(vm.interrupts.msi(msiMessage({ vector: VECTOR })), true);
  expect(vm).toExit([portOut(TAKEN, 1), hlt()]);
});

Deno.test("a GSI that is routed to a message is one, and the routes before are gone", () => {
  using vm = vector0x50(wait(2));
  vm.interrupts.route([{ gsi: 30, msi: msiMessage({ vector: VECTOR }) }, { gsi: 4, ioapic: 4 }]);
  vm.run({ until: "halted" });
  vm.interrupts.raise(30);
  vm.run({ until: "halted" });
  using event = vm.interrupts.eventfd(30);
  event.signal();
  vm.run();
  assertEquals(taken(vm), 2);
  assertThrows(() => vm.interrupts.raise(16), RangeError, "The machine has 4, 30; vm.interrupts");
});

Deno.test("a GSI with a route to each controller raises both", () => {
  using vm = boot(asm`hlt`, { irqchip: true });
  vm.interrupts.route([{ gsi: 40, pic: 11 }, { gsi: 40, ioapic: 20 }]);
  vm.interrupts.raise(40);
  assertEquals(vm.interrupts.pic.slave.irr, [3]);
  assertEquals(vm.interrupts.ioapic.pins.flatMap(({ raised }, pin) => raised ? [pin] : []), [20]);
});

Deno.test("an NMI comes although interrupts are disabled", () => {
  using vm = boot(
    asm`
      bits 32
      %include "../../guests/interrupts/interrupts.inc"
      enable_apic
      hlt
      hlt
    on_nmi:
      out ${TAKEN}, al
      iret
    `,
    { irqchip: true, gates: { 2: "on_nmi" } },
  );
  expect(vm).toExit([hlt()]);
  assertEquals(vm.mpState, "HALTED");
  assertEquals(vm.interrupts.msi(msiMessage({ deliveryMode: "NMI" })), true);
  assertEquals(vm.events.nmi.pending, true);
  expect(vm).toExit([portOut(TAKEN, 0), hlt()]);
});

Deno.test("a CPU sends itself an IPI", () => {
  using vm = vector0x50(asm`
    mov dword [APIC_ICR_LOW], APIC_TO_SELF | ${VECTOR}
    ${wait(1)}
  `);
  expect(vm).toExit([portOut(TAKEN, 1), hlt()]);
  assertEquals(vm.localApic.icr, 0x40050n);
});

Deno.test("the task priority holds an interrupt back, and lets it through when it is lowered", () => {
  using vm = vector0x50(asm`
    mov dword [APIC_TPR], 0x60
    sti
    mov dword [APIC_ICR_LOW], APIC_TO_SELF | ${VECTOR}
    nop
    out 0x11, al
    mov dword [APIC_TPR], 0
    nop
    out 0x12, al
  `);
  vm.ports.on([0x11, 0x12], { write: () => {} });
  for (const { exit } of vm.exits()) {
    if (exit.reason !== "IO" || exit.port !== 0x11) continue;
    const { tpr, ppr, irr, isr } = vm.localApic;
    assertEquals({ tpr, ppr, irr, isr }, { tpr: 0x60, ppr: 0x60, irr: [VECTOR], isr: [] });
  }
  assertEquals(vm.log.records().map(({ address }) => address), [0x11, TAKEN, 0x12, 0]);
});

Deno.test("the local APIC's timer fires once, and its registers have names", () => {
  using vm = vector0x50(asm`
    mov dword [APIC_DIVIDE], 0b1011        ; by 1
    mov dword [APIC_LVT_TIMER], ${VECTOR}  ; one-shot
    mov dword [APIC_INITIAL_COUNT], 1000
    ${wait(1)}
  `);
  expect(vm).toExit([portOut(TAKEN, 1), hlt()]);
  const { id, enabled, spuriousVector, timer, lvt } = vm.localApic;
  assertEquals({ id, enabled, spuriousVector }, {
    id: 0,
    enabled: true,
    spuriousVector: SPURIOUS_VECTOR,
  });
  assertEquals(timer, { mode: "one-shot", initialCount: 1000, currentCount: 0, divide: 1 });
  assertEquals(lvt.timer, { vector: VECTOR, deliveryMode: "fixed", masked: false });
  assertEquals(lvt.lint0.deliveryMode, "ExtINT");
});

Deno.test("a guest stays in HLT until it is woken, however often it is run", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    ${wait(1)}
  `);
  for (let times = 0; times < 3; times++) {
    assertEquals(vm.run({ until: "halted" }).reason, "HLT");
    expect(vm).toBeHalted();
    assertEquals([taken(vm), vm.mpState], [0, "HALTED"]);
  }
  expect(vm).toExit([hlt()], { until: "halted" });
  assert(assertThrows(() => vm.run({ timeout: 30 }), TimeLimitError).message.includes("halted"));
  vm.interrupts.pulse(PIN);
  vm.run();
  assertEquals(taken(vm), 1);
});

Deno.test("a handler raises an interrupt while the guest runs", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    sti
    out 0x30, al
    nop
  `);
  vm.ports.on(0x30, { write: () => vm.interrupts.pulse(PIN) });
  expect(vm).toExit([portOut(TAKEN, 1), hlt()]);
});

Deno.test("a handler of HLT wakes the guest whenever it waits", () => {
  using vm = vector0x50(asm`
    redirect ${PIN}, ${VECTOR}
    ${wait(3)}
  `);
  const ifs: boolean[] = [];
  vm.on("HLT", () => {
    ifs.push(vm.registers.rflags.if);
    if (vm.registers.rflags.if) vm.interrupts.pulse(PIN);
    else vm.stop();
  });
  vm.run({ until: "halted" });
  assertEquals([taken(vm), ifs], [3, [true, true, true, false]]);
});
