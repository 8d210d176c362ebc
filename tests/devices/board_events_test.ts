import { asm, boot, expect } from "@vmexit/vmexit";
import {
  type Device,
  type DeviceBoard,
  type InterruptLine,
  RegisterMap,
  TestClock,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** A port that resets the machine (1) or turns it off (2). */
class PowerControl implements Device {
  readonly name = "power control";
  attach(board: DeviceBoard) {
    board.ports.on(0xcf9, {
      name: this.name,
      write: (_port, value) => value === 1 ? board.reset() : board.powerOff(),
    });
  }
}

/** Resets the machine five milliseconds after it was booted, whatever its guest does. */
class Watchdog implements Device {
  readonly name = "watchdog";
  attach(board: DeviceBoard) {
    board.timers.at(5e6, () => board.reset());
  }
}

/** A timer that never ends, and interrupts nobody. */
class Metronome implements Device {
  readonly name = "metronome";
  attach({ timers }: DeviceBoard) {
    const tick = () => void timers.at(timers.now + 1e6, tick);
    tick();
  }
}

/** An interrupt controller that only notes its lines. */
class Lines implements Device {
  readonly name = "lines";
  readonly seen: string[] = [];
  attach(board: DeviceBoard) {
    board.connectInterruptController({
      setLine: (irq, asserted) => void this.seen.push(`${irq} ${asserted ? "up" : "down"}`),
      hasInterrupt: false,
      acknowledge: () => 0,
    });
  }
}

/** Code at the reset vector, in a ROM below 4 GiB: `out 0x80, al` · `hlt`. */
const AT_RESET = Uint8Array.of(0xe6, 0x80, 0xf4);

const rom = () => {
  const content = new Uint8Array(0x1000);
  content.set(AT_RESET, 0xff0);
  return { gpa: 0xffff_f000, size: 0x1000, readonly: true, content } as const;
};

const RESETS = asm`
  mov dx, 0xcf9
  mov al, 1
  out dx, al
  hlt
`;

Deno.test("behind the power off the machine does not run on, though a triple fault resets it", () => {
  const guest = asm`
    mov dx, 0xcf9
    mov al, 2
    out dx, al
    hlt
  `;
  using vm = boot(guest, {
    devices: [new PowerControl()],
    tripleFault: "reset",
    slots: [rom()],
  });
  assertEquals(vm.run().reason, "SYSTEM_EVENT");
  assertThrows(() => vm.run(), TypeError, "turned the power off");
});

Deno.test.each([
  { what: "spins", guest: asm`jmp $`, options: {} },
  {
    what: "waits in HLT",
    guest: asm`
      sti
      hlt
      jmp $
    `,
    options: { clock: new TestClock() },
  },
  { what: "spins beside others", guest: asm`jmp $`, options: { cpus: 2 } },
])("a watchdog resets a guest that $what", ({ guest, options }) => {
  using vm = boot(guest, { ...options, devices: [new Watchdog()], slots: [rom()] });
  assertEquals(vm.run({ until: "reset" }).reason, "SYSTEM_EVENT");
  expect(vm).toHaveRegisters({ rip: 0xfff0 });
});

Deno.test.each([
  { what: "has halted", first: asm`hlt`, irqchip: true },
  { what: "has halted, without local APICs", first: asm`hlt`, irqchip: false },
  { what: "runs, without local APICs", first: asm`jmp $`, irqchip: false },
])("a reset by one CPU starts CPU 0, which $what, and no other", ({ first, irqchip }) => {
  using vm = boot(
    asm`
      cli
      ${first}
    second:
      mov cx, 2000
      loop $
      mov dx, 0xcf9
      mov al, 1
      out dx, al
      hlt
    `,
    {
      devices: [new PowerControl()],
      slots: [rom()],
      reset: "restart",
      irqchip,
      cpus: [{}, { entry: "second" }],
    },
  );
  let starts = 0;
  vm.ports.on(0x80, { write: () => void starts++ });
  vm.run();
  assertEquals(starts, 1);
});

Deno.test("a CPU that waits in HLT does not hold up others where a device has a timer", () => {
  using vm = boot(
    asm`
      sti
      hlt
    second:
      out 0x80, al
      cli
      hlt
    `,
    { devices: [new Metronome()], irqchip: false, cpus: [{}, { entry: "second" }] },
  );
  let writes = 0;
  vm.ports.on(0x80, { write: () => void writes++ });
  vm.run();
  assertEquals(writes, 1);
});

Deno.test("a routine whose call ends in a reset has not returned, whatever a reset does otherwise", () => {
  const guest = asm`
    hlt
  restart:
    mov dx, 0xcf9
    mov al, 1
    out dx, al
    ret
  spin: jmp $
  `;
  const boots = () =>
    boot(guest, { devices: [new PowerControl()], slots: [rom()], reset: "restart" });
  using vm = boots();
  const { message } = assertThrows(() => vm.call("restart"), Error);
  assertStringIncludes(message, "restart did not return. The guest reset the machine");
  using exits = boots();
  const reasons: string[] = [];
  assertThrows(
    () => {
      for (const { exit } of exits.exits({ call: { routine: "restart" } })) {
        reasons.push(exit.reason);
      }
    },
    Error,
    "restart did not return. The guest reset the machine",
  );
  assertEquals(reasons, ["IO", "SYSTEM_EVENT"]);
  using watched = boot(guest, { devices: [new Watchdog()], slots: [rom()], reset: "restart" });
  assertThrows(() => watched.call("spin"), Error, "spin did not return. The guest reset");
});

Deno.test("a reset ends what devices assert, so that their next interrupt comes", () => {
  const lines = new Lines();
  const map = new RegisterMap("timer", { port: 0x300, irq: 4, registers: { A: { offset: 0 } } });
  const devices = [lines, map, new PowerControl()];
  using vm = boot(RESETS, { devices, slots: [rom()], reset: "restart" });
  vm.ports.on(0x80, { write() {} });
  map.interrupt();
  vm.run();
  map.interrupt();
  assertEquals(lines.seen, ["4 up", "4 down", "4 up"]);
});

Deno.test("devices that share a line assert it together", () => {
  const lines = new Lines();
  const [first, second] = [1, 2].map((number) =>
    new RegisterMap(`device ${number}`, {
      port: 0x300 + number,
      irq: 4,
      registers: { A: { offset: 0 } },
    })
  );
  using _vm = boot(asm`hlt`, { devices: [lines, first, second] });
  first.interrupt();
  second.interrupt();
  first.interrupt(false);
  assertEquals(lines.seen, ["4 up"]);
  second.interrupt(false);
  assertEquals(lines.seen, ["4 up", "4 down"]);
});

Deno.test("an interrupt that nobody could take is an error", () => {
  const mapOf = (irq: number) =>
    new RegisterMap("timer", { port: 0x300, irq, registers: { A: { offset: 0 } } });
  const map = mapOf(4);
  using _vm = boot(asm`hlt`, { devices: [map] });
  assertThrows(() => map.interrupt(), TypeError, "its machine has no interrupt controller");
  const unrouted = mapOf(100);
  using _routed = boot(asm`hlt`, { devices: [unrouted], irqchip: true });
  assertThrows(() => unrouted.interrupt(), RangeError, "there is no such GSI");
  for (const irq of [16, -1, 1.5, NaN]) {
    assertThrows(
      () => void boot(asm`hlt`, { devices: [mapOf(irq)] }),
      RangeError,
      `Cannot wire interrupt line ${irq}: there are 0 to 15`,
    );
  }
});

Deno.test("a line says whether it leads to a controller", () => {
  let line: InterruptLine | undefined;
  const device: Device = {
    name: "device",
    attach: (board) => {
      line = board.interruptLine(3);
    },
  };
  // A controller may be put on the board behind the device.
  using _vm = boot(asm`hlt`, { devices: [device, new Lines()] });
  assertEquals(line?.isConnected, true);
});
