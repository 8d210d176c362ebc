import { asm, boot, expect, hlt, portOut, powerOff, reset, shutdown } from "@vmexit/vmexit";
import {
  type Device,
  type DeviceBoard,
  type InterruptController,
  TestClock,
} from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** A device with a port that resets the machine (1) or turns it off (2), and counts what became of it. */
class PowerControl implements Device {
  readonly name = "power control";
  resets = 0;
  attach(board: DeviceBoard) {
    board.ports.on(0xcf9, {
      name: this.name,
      write: (_port, value) => value === 1 ? board.reset() : board.powerOff(),
    });
  }
  reset() {
    this.resets++;
  }
}

/** An interrupt controller with one vector for every line. */
class Controller implements Device, InterruptController {
  readonly name = "controller";
  hasInterrupt = false;
  attach(board: DeviceBoard) {
    board.connectInterruptController(this);
  }
  setLine(irq: number, asserted: boolean) {
    if (irq === 3 && asserted) this.hasInterrupt = true;
  }
  acknowledge() {
    this.hasInterrupt = false;
    return 0x20;
  }
}

/** Interrupts by line 3 after the milliseconds written to port 0x40. */
class Alarm implements Device {
  readonly name = "alarm";
  attach(board: DeviceBoard) {
    const { ports, timers } = board;
    const line = board.interruptLine(3);
    ports.on(0x40, {
      name: this.name,
      write: (_port, value) => {
        timers.at(timers.now + value * 1e6, () => {
          line.set(true);
          line.set(false);
        });
      },
    });
  }
}

/** Code at the reset vector, in a ROM below 4 GiB: `mov al, [0x7000]` · `out 0x80, al` · `hlt`. */
// deno-fmt-ignore
const AT_RESET = Uint8Array.of(0xa0, 0x00, 0x70, 0xe6, 0x80, 0xf4);

function rom(): { gpa: number; size: number; readonly: true; content: Uint8Array } {
  const content = new Uint8Array(0x1000);
  content.set(AT_RESET, 0xff0);
  return { gpa: 0xffff_f000, size: 0x1000, readonly: true, content };
}

const RESETS = asm`
  mov byte [0x7000], 0x5a
  mov bx, 0x1234
  mov dx, 0xcf9
  mov al, 1
  out dx, al
  hlt
`;

Deno.test("a reset starts CPU 0 at the reset vector, with its devices reset and memory as it was", () => {
  const control = new PowerControl();
  using vm = boot(RESETS, { devices: [control], slots: [rom()], reset: "restart", memory: "64K" });
  vm.ports.on(0x80, { write() {} });
  vm.msrs.set({ LSTAR: 0x1234 });
  vm.registers.set({ fcw: 0x37f, xmm0: { u32: [1, 2, 3, 4] }, dr0: 0x1000n });
  vm.run();
  assertEquals(control.resets, 1);
  expect(vm).toHaveRegisters({ al: 0x5a, bx: 0, cs: 0xf000, cr0: 0x6000_0010n });
  expect(vm).toHaveRegisters({ fcw: 0x40, xmm0: { u32: [0, 0, 0, 0] }, dr0: 0n });
  expect(vm).toHaveMsrs({ LSTAR: 0 });
  expect(vm).toHaveMemory(0x7000, [0x5a]);
});

Deno.test("a reset that nobody asked for ends the run with an error", () => {
  const boots = () => boot(RESETS, { devices: [new PowerControl()], slots: [rom()] });
  using vm = boots();
  const { message } = assertThrows(() => vm.run(), Error);
  assertStringIncludes(message, "The guest reset the machine at exit 2: SYSTEM_EVENT RESET");
  using exits = boots();
  assertThrows(() => void [...exits.exits()], Error, "The guest reset the machine");
  using transcript = boots();
  assertThrows(() => expect(transcript).toExit([portOut(0xcf9, 1), hlt()]), Error, "SYSTEM_EVENT");
});

Deno.test("a reset can be expected, by a run, by exits and by a transcript, which goes on behind it", () => {
  const boots = () => boot(RESETS, { devices: [new PowerControl()], slots: [rom()] });
  using vm = boots();
  assertEquals(vm.run({ until: "reset" }).reason, "SYSTEM_EVENT");
  expect(vm).toHaveRegisters({ rip: 0xfff0, cs: 0xf000 });
  using exits = boots();
  assertEquals([...exits.exits({ until: "reset" })].map(({ exit }) => exit.reason), [
    "IO",
    "SYSTEM_EVENT",
  ]);
  using transcript = boots();
  expect(transcript).toExit([reset(), portOut(0x80), hlt()]);
});

Deno.test("a run until a reset that ends otherwise is an error", () => {
  using vm = boot(asm`hlt`, { devices: [new PowerControl()] });
  assertThrows(() => vm.run({ until: "reset" }), Error, "was to reset the machine");
});

Deno.test("a triple fault resets the machine where that is asked for", () => {
  const guest = asm`
    bits 32
    lidt [none]
    ud2
  none: dw 0
    dd 0
  `;
  const options = { tripleFault: "reset", slots: [rom()] } as const;
  using vm = boot(guest, options);
  expect(vm).toExit([shutdown(), reset(), portOut(0x80), hlt()]);
  using restarted = boot(guest, { ...options, reset: "restart" });
  restarted.ports.on(0x80, { write() {} });
  assertEquals(restarted.run().reason, "HLT");
  using unforeseen = boot(guest, options);
  assertThrows(() => unforeseen.run(), Error, "The guest reset the machine");
});

Deno.test("the power off ends a run, and the machine does not run on", () => {
  const guest = asm`
    mov dx, 0xcf9
    mov al, 2
    out dx, al
    hlt
  `;
  using vm = boot(guest, { devices: [new PowerControl()] });
  assertEquals(vm.run().reason, "SYSTEM_EVENT");
  assertThrows(() => vm.run(), TypeError, "its guest has turned the power off");
  using transcript = boot(guest, { devices: [new PowerControl()] });
  expect(transcript).toExit([portOut(0xcf9, 2), powerOff()]);
  assertThrows(() => expect(vm).toBeHalted());
});

/** Asks for an alarm in 3 ms, and waits for its interrupt: in HLT, or, told so, by spinning. */
const ticking = (vector: number, define: { SPIN?: true } = {}) =>
  asm({ define })`
    mov word [${vector} * 4], on_tick
    mov word [${vector} * 4 + 2], 0
    mov al, 3
    out 0x40, al
    sti
  again:
  %ifndef SPIN
    hlt
  %endif
    cmp byte [0x7000], 1
    jne again
    cli
    hlt
  on_tick:
    mov byte [0x7000], 1
    iret
  `;

const TICK = ticking(0x20);

Deno.test("a device's timer wakes a guest in HLT by the board's interrupt controller", () => {
  const clock = new TestClock();
  using vm = boot(TICK, { clock, devices: [new Controller(), new Alarm()] });
  vm.run();
  expect(vm).toHaveMemory(0x7000, [1]);
  assert(clock.nanoseconds >= 3e6 && clock.nanoseconds < 4e6, String(clock.nanoseconds));
  expect(vm).toBeHalted();
});

Deno.test("by the host's clock it takes as long as it says", () => {
  using vm = boot(TICK, { devices: [new Controller(), new Alarm()] });
  const start = performance.now();
  vm.run();
  assert(performance.now() - start >= 3);
  expect(vm).toHaveMemory(0x7000, [1]);
});

Deno.test("a device's timer interrupts a guest that spins", () => {
  const devices = [new Controller(), new Alarm()];
  using vm = boot(ticking(0x20, { SPIN: true }), { devices });
  vm.run();
  expect(vm).toBeHalted();
});

Deno.test("a guest whose interrupt is nobody's halts, and a run until halted ends though a timer is planned", () => {
  using dead = boot(TICK, { clock: new TestClock(), devices: [new Alarm()] });
  dead.run();
  expect(dead).toHaveMemory(0x7000, [0]);
  using vm = boot(TICK, { clock: new TestClock(), devices: [new Controller(), new Alarm()] });
  vm.run({ until: "halted" });
  expect(vm).toHaveMemory(0x7000, [0]);
  vm.run();
  expect(vm).toHaveMemory(0x7000, [1]);
});

Deno.test("with the kernel's controllers a device's line is a GSI", () => {
  const guest = asm`
    mov al, 0x11
    out 0x20, al
    mov al, 0x20        ; vectors 0x20 on
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xf7        ; all but IRQ 3 masked
    out 0x21, al
    ${ticking(0x23)}
  `;
  using vm = boot(guest, { irqchip: true, devices: [new Alarm()] });
  vm.run();
  expect(vm).toHaveMemory(0x7000, [1]);
});

Deno.test("an open bus answers what nobody takes, and a fallback goes before it", () => {
  const guest = asm`
    in al, 0x60
    out 0x61, al
    mov dx, 0x1234
    in eax, dx
    mov ebx, [0x2000]
    hlt
  `;
  using vm = boot(guest, { memory: "4K", unclaimed: "open-bus" });
  vm.run();
  expect(vm).toHaveRegisters({ al: 0xff, eax: 0xffff_ffff, ebx: 0xffff_ffff });
  assertEquals(vm.log.records()[0].answeredBy, "open bus");
  using other = boot(guest, { memory: "4K", unclaimed: "open-bus" });
  other.ports.otherwise({ name: "the rest", read: (port) => port & 0xff });
  other.run();
  expect(other).toHaveRegisters({ eax: 0x34 });
  using strict = boot(guest, { memory: "4K" });
  assertThrows(() => strict.run(), Error, "Nothing answers exit 1");
});

Deno.test("options for devices that cannot be are refused", () => {
  const control = new PowerControl();
  const boots = (options: object) => () => void boot(asm`hlt`, options)[Symbol.dispose]();
  assertThrows(boots({ devices: control }), TypeError, "give a list of them");
  assertThrows(boots({ devices: [{}] }), TypeError, "devices[0]");
  assertThrows(boots({ devices: [control, control] }), TypeError, "twice");
  assertThrows(boots({ unclaimed: "openbus" }), RangeError, '"open-bus"');
  assertThrows(boots({ reset: true }), RangeError, '"restart"');
  assertThrows(boots({ tripleFault: "restart" }), RangeError, '"reset"');
  assertThrows(boots({ devices: [new Controller(), new Controller()] }), TypeError, "has one");
  assertThrows(
    boots({ irqchip: true, devices: [new Controller()] }),
    TypeError,
    "kernel has its own",
  );
  assertThrows(
    boots({ devices: [new PowerControl(), new PowerControl()] }),
    RangeError,
    "power control has 0xcf9",
  );
});
