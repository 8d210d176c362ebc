import { asm, boot, expect, PendingEventError } from "@vmexit/vmexit";
import { RegisterMap } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** A converter, as its data sheet would have it. */
function converter(options: { reserved?: { seed: number } } = {}) {
  return new RegisterMap("ADC", {
    port: 0x300,
    ...options,
    registers: {
      CONTROL: { offset: 0, fields: { START: 0, CHANNEL: [6, 4] } },
      STATUS: { offset: 1, access: "ro", fields: { READY: 7, FAULT: 0 } },
      DATA: { offset: 2, access: "ro", reset: 0x5a },
      EVENTS: { offset: 3, access: "w1c", fields: { DONE: 0, OVERRUN: 1 } },
    },
  });
}

/**
 * The driver: selects channel 2 and starts, polls at most 16 times, reads the value into BL; BH says how it went: 0 well,
 * 1 time out, 2 fault.
 */
const DRIVER = asm`
  mov dx, 0x300
  mov al, 0x21
  out dx, al
  inc dx
  mov cx, 16
poll:
  in al, dx
  test al, 1
  jnz failed
  test al, 0x80
  jnz ready
  loop poll
  mov bh, 1
  hlt
failed:
  mov bh, 2
  hlt
ready:
  inc dx
  in al, dx
  mov bl, al
  hlt
`;

Deno.test("a driver polls a field until it is set, and reads its data once", () => {
  const adc = converter();
  adc.becomes("STATUS.READY", 1, { afterReads: 3 });
  using vm = boot(DRIVER, { devices: [adc] });
  vm.run();
  expect(vm).toHaveRegisters({ bl: 0x5a, bh: 0 });
  expect(adc).toHaveAccessed([
    adc.wrote("CONTROL", { START: 1, CHANNEL: 2 }),
    adc.polled("STATUS", { READY: 1 }),
    adc.read("DATA", 0x5a),
  ]);
  assertEquals(adc.accesses.length, 5);
  assertEquals(adc.get("CONTROL.CHANNEL"), 2);
});

Deno.test("the faults of hardware: a stuck bit, a late reply, no device, one bad read", () => {
  const run = (spoil: (adc: ReturnType<typeof converter>) => void) => {
    const adc = converter();
    adc.set("STATUS.READY", 1);
    spoil(adc);
    using vm = boot(DRIVER, { devices: [adc] });
    vm.run();
    return { bl: vm.registers.bl, bh: vm.registers.bh, reads: adc.accesses.length - 1 };
  };
  assertEquals(run(() => {}), { bl: 0x5a, bh: 0, reads: 2 });
  assertEquals(run((adc) => adc.stick("STATUS.READY", 0)), { bl: 0, bh: 1, reads: 16 });
  assertEquals(run((adc) => adc.delay("STATUS.READY", 4)), { bl: 0x5a, bh: 0, reads: 6 });
  assertEquals(run((adc) => adc.float()), { bl: 0, bh: 2, reads: 1 });
  assertEquals(run((adc) => adc.failOnce("STATUS", { FAULT: 1 })), { bl: 0, bh: 2, reads: 1 });
  assertEquals(run((adc) => adc.replies("DATA", [0x11, 0x22])), { bl: 0x11, bh: 0, reads: 2 });
  assertEquals(run((adc) => adc.onRead("DATA", () => 0x33)), { bl: 0x33, bh: 0, reads: 2 });
});

Deno.test("bits that a written one clears, bits that only the device sets, and a device's own doing", () => {
  const adc = converter();
  adc.set("EVENTS", 3);
  const written: number[] = [];
  adc.onWrite("CONTROL", (value) => {
    written.push(value);
    adc.set("STATUS.READY", 1);
  });
  using vm = boot(
    asm`
      mov dx, 0x303
      mov al, 1
      out dx, al
      in al, dx
      mov bl, al
      mov dx, 0x300
      mov al, 0x10
      out dx, al
      inc dx
      in al, dx
      hlt
    `,
    { devices: [adc] },
  );
  vm.run();
  expect(vm).toHaveRegisters({ bl: 2, al: 0x80 });
  assertEquals(written, [0x10]);
});

Deno.test("a register in memory, with an interrupt, and the state after reset", () => {
  const timer = new RegisterMap("timer", {
    address: 0xd000_0000,
    registers: { COUNT: { offset: 0, reset: 7 }, HALF: { offset: 4, size: 2 } },
  });
  using vm = boot(
    asm`
      bits 32
      mov eax, [0xd0000000]
      mov dword [0xd0000000], 0xfedcba98
      mov word [0xd0000004], 0x1234
      mov bx, [0xd0000004]
      hlt
    `,
    { devices: [timer] },
  );
  vm.run();
  expect(vm).toHaveRegisters({ eax: 7, bx: 0x1234 });
  assertEquals(timer.get("COUNT"), 0xfedc_ba98);
  const saved = timer.save();
  timer.reset();
  assertEquals(timer.get("COUNT"), 7);
  timer.restore(saved);
  assertEquals(timer.get("COUNT"), 0xfedc_ba98);
  assertThrows(() => timer.interrupt(), TypeError, "it has no line");
});

Deno.test("reserved bits are zero, or come at random from a seed, and fields stay what they are", () => {
  const guest = asm`
    mov dx, 0x301
    mov cx, 32
    mov di, 0x7000
  again:
    in al, dx
    stosb
    loop again
    hlt
  `;
  const read = (seed?: number) => {
    const adc = converter(seed === undefined ? {} : { reserved: { seed } });
    adc.set("STATUS.READY", 1);
    using vm = boot(guest, { devices: [adc] });
    vm.run();
    return vm.memory.read(0x7000, 32);
  };
  assertEquals(new Set(read()), new Set([0x80]));
  const bytes = read(1);
  assert(bytes.every((byte) => (byte & 0x81) === 0x80), String(bytes));
  assert(new Set(bytes).size > 8);
  assertEquals(read(1), bytes);
  assert(read(2).some((byte, index) => byte !== bytes[index]));
});

Deno.test("accesses that the map does not have end the run", () => {
  using wide = boot(
    asm`
      mov dx, 0x300
      in ax, dx
      hlt
    `,
    { devices: [converter()] },
  );
  const width = "read of 2 bytes at ADC+0x0: CONTROL has 1 byte at +0x0";
  assertThrows(() => wide.run(), RangeError, width);
  using written = boot(
    asm`
      mov dx, 0x301
      out dx, al
      hlt
    `,
    { devices: [converter()] },
  );
  const kind = "write to 1 byte at ADC+0x1: STATUS is read-only";
  assertThrows(() => written.run(), RangeError, kind);
});

Deno.test("accesses that were otherwise than expected are shown with those around them", () => {
  const adc = converter();
  adc.set("STATUS.READY", 1);
  using vm = boot(DRIVER, { devices: [adc] });
  vm.run();
  const fails = (expected: Parameters<ReturnType<typeof expect<never>>["toHaveAccessed"]>[0]) =>
    assertThrows(() => expect(adc).toHaveAccessed(expected), Error).message;
  const start = adc.wrote("CONTROL", { START: 1 });
  assertStringIncludes(
    fails([start, adc.read("DATA")]),
    "access 2  expected read DATA\n            received read STATUS 0x80 (READY)",
  );
  assertStringIncludes(
    fails([start, adc.polled("STATUS", { READY: 0 }), adc.read("DATA")]),
    "expected poll STATUS (READY 0x0)",
  );
  assertStringIncludes(fails([start, adc.polled("STATUS", { READY: 1 })]), "received read DATA");
  assertStringIncludes(
    fails([start, adc.read("STATUS"), adc.read("DATA"), adc.read("DATA")]),
    "received no access more",
  );
  assertThrows(() => expect(adc).toHaveAccessed([start, undefined as never]), TypeError, "1");
  assertThrows(() => expect(adc).toHaveAccessed(start as never), TypeError, "give a list");
});

Deno.test("maps, names and values that cannot be are refused", () => {
  const make = (options: object) => () => void new RegisterMap("X", options as never);
  assertThrows(make({ registers: { A: { offset: 0 } } }), TypeError, "first port or its first");
  assertThrows(make({ port: 1, registers: {} }), TypeError, "no register");
  const registers = { A: { offset: 0, size: 2 }, B: { offset: 1 } };
  assertThrows(make({ port: 1, registers }), RangeError, "A and B overlap");
  assertThrows(
    make({ port: 1, registers: { A: { offset: 0, fields: { F: [3, 0], G: 3 } } } }),
    RangeError,
    "field G overlaps",
  );
  assertThrows(
    make({ port: 1, registers: { A: { offset: 0, fields: { F: 8 } } } }),
    RangeError,
    "register of 8 bits",
  );
  assertThrows(
    make({ port: 1, registers: { A: { offset: 0, reset: 256 } } }),
    RangeError,
    "8 bits",
  );
  const A = { offset: 0 };
  const register = (definition: unknown) => make({ port: 1, registers: { A: definition } });
  assertThrows(make(undefined as never), TypeError, "give an object");
  assertThrows(make({ port: 1, registers: 3 }), TypeError, "with registers 3");
  assertThrows(make({ port: 1, irqs: 3, registers: { A } }), TypeError, "the nearest are irq");
  assertThrows(make({ port: 1, registers: { A }, reserved: "random" }), TypeError, "reserved");
  assertThrows(make({ port: 1, registers: { A }, reserved: { sed: 1 } }), TypeError, "are seed");
  assertThrows(make({ port: 1, registers: { "A.B": A } }), TypeError, "point");
  assertThrows(register(3), TypeError, "make X.A with 3");
  assertThrows(register({ offset: 0, acces: "ro" }), TypeError, "the nearest are access");
  assertThrows(register({ offset: 0, access: "r0" }), RangeError, "rw, ro, wo, w1c, rc");
  assertThrows(register({ offset: 0, fields: 3 }), TypeError, "with fields 3");
  const field = (definition: unknown) => register({ offset: 0, fields: { F: definition } });
  assertThrows(field({ bits: 1, acess: "ro" }), TypeError, "the nearest are access");
  assertThrows(field({ bit: 1 }), TypeError, "the nearest are bits");
  assertThrows(field({ bits: 1, access: "r" }), RangeError, "X.A.F");
  assertThrows(field("3"), TypeError, "X.A.F");
  const adc = converter();
  assertThrows(() => adc.read("DATA", undefined), TypeError, "DATA as undefined");
  assertThrows(() => adc.wrote("CONTROL", undefined), TypeError, "CONTROL as undefined");
  assertThrows(() => adc.polled("STATUS", undefined as never), TypeError, "as undefined");
  assertThrows(() => adc.set("STATUZ" as never, 1), RangeError, "nearest are STATUS");
  assertThrows(() => adc.stick("STATUS.REDY" as never, 1), RangeError, "nearest are READY");
  assertThrows(() => adc.stick("STATUS" as never, 1), RangeError, "name one");
  assertThrows(() => adc.set("STATUS.READY", 2), RangeError, "takes 0 to 0x1");
  assertThrows(() => adc.wrote("CONTROL", {}), TypeError, "fields by name");
  assertThrows(
    () => adc.wrote("CONTROL", { START: undefined }),
    RangeError,
    "START as undefined",
  );
  assertThrows(() => adc.becomes("STATUS.READY", 1, { afterReads: 0 }), RangeError, "from 1 on");
});

Deno.test("a bad read that the driver does not make is an error", () => {
  const bad = () => {
    const map = new RegisterMap("ADC", { port: 0x300, registers: { DATA: { offset: 0 } } });
    map.failOnce("DATA", 0xff);
    return map;
  };
  const reads = asm`
    mov dx, 0x300
    in al, dx
    hlt
  `;
  using vm = boot(asm`hlt`, { devices: [bad()] });
  const { message } = assertThrows(() => vm.run(), PendingEventError);
  assertStringIncludes(
    message,
    "ADC.DATA was to read as 0xff once, and the driver has not read it",
  );
  using pending = boot(asm`hlt`, { devices: [bad()] });
  pending.run({ pending: true });
  using delivered = boot(reads, { devices: [bad()] });
  delivered.run();
  expect(delivered).toHaveRegisters({ al: 0xff });
});
