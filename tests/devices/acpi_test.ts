import { asm, boot, expect, hlt, portOut, powerOff } from "@vmexit/vmexit";
import { AcpiPmTimer, AcpiPower, acpiTables, Pic } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { buffer, integer } from "../../lib/devices/acpi/aml.ts";
import { PortDriver } from "./port_driver.ts";

const SECOND = 1e9;

Deno.test("the PM timer counts 3.579545 MHz, and wraps", () => {
  const timer = new AcpiPmTimer();
  const wide = new AcpiPmTimer({ bits: 32, port: 0x708 });
  using driver = new PortDriver([timer, wide]);
  assertEquals(driver.in(0x608, 4), 0);
  driver.clock.advance(SECOND);
  assertEquals([driver.in(0x608, 4), driver.in(0x708, 4)], [3_579_545, 3_579_545]);
  driver.clock.advance(4 * SECOND);
  assertEquals([driver.in(0x608, 4), driver.in(0x708, 4)], [
    5 * 3_579_545 - 2 ** 24,
    5 * 3_579_545,
  ]);
  driver.out(0x608, 0, 4);
  const bytes = [0, 1, 2, 3].map((offset) => driver.in(0x708 + offset));
  assertEquals(bytes, [0xfd, 0x18, 0x11, 0x01]);
  assertEquals(driver.in(0x70a, 2), 0x0111);
  const state = structuredClone(wide.save());
  driver.clock.advance(1300 * SECOND);
  assert(driver.in(0x708, 4) < 2 ** 32);
  wide.reset();
  assertEquals(driver.in(0x708, 4), 0);
  wide.restore(state);
  assertEquals(driver.in(0x708, 4), 5 * 3_579_545);
  assertThrows(() => new AcpiPmTimer({ bits: 16 as 24 }), RangeError, "16 bits");
});

Deno.test("the power goes off by the sleep type of S5, and by no other", () => {
  const off = (power: AcpiPower, value: number) => {
    const vm = boot(
      asm`
        mov dx, 0x604
        mov ax, [0x700]
        out dx, ax
        hlt
      `,
      { devices: [power] },
    );
    vm.memory.setU16(0x700, value);
    return vm;
  };
  using qemu = off(new AcpiPower(), 0x2000);
  expect(qemu).toExit([portOut(0x604, 0x2000, 2), powerOff()]);
  using other = off(new AcpiPower({ s5: 5 }), 0x2000 | 5 << 10);
  expect(other).toExit([portOut(0x604, 0x3400, 2), powerOff()]);
  for (const value of [0x2000, 0x1400, 0x2400]) {
    using on = off(new AcpiPower({ s5: 5 }), value);
    expect(on).toExit([portOut(0x604, value, 2), hlt()]);
  }
});

Deno.test("the power button is a status bit and an SCI, where it is enabled", () => {
  const power = new AcpiPower();
  const pic = new Pic({ vectors: [0x20, 0x28] });
  using driver = new PortDriver([power, pic]);
  driver.out(0x4d1, 0x02);
  assertEquals([driver.in(0x600, 4), driver.in(0x604, 2)], [0, 1]);
  power.pressPowerButton();
  assertEquals([driver.in(0x600, 2), pic.requested], [0x100, 0]);
  driver.out(0x602, 0xffff, 2);
  assertEquals([driver.in(0x602, 2), pic.requested], [0x0721, 0x200]);
  const state = structuredClone(power.save());
  driver.out(0x600, 0x00ff, 2);
  assertEquals(driver.in(0x600, 2), 0x100, "ones clear, and this was a zero");
  driver.out(0x601, 0x01);
  assertEquals([driver.in(0x600, 2), pic.requested], [0, 0]);
  driver.out(0x605, 0x10);
  driver.out(0x604, 0x02);
  assertEquals(driver.in(0x604, 2), 0x1003);
  power.reset();
  assertEquals([driver.in(0x602, 2), driver.in(0x604, 2)], [0, 1]);
  power.restore(state);
  assertEquals([driver.in(0x600, 4), pic.requested], [0x0721_0100, 0x200]);
});

/** A reader of tables as a kernel is one: it finds them from the RSDP, and checks their sums. */
function tablesOf(
  bytes: Uint8Array<ArrayBuffer>,
  address: number,
  wide: boolean,
): Map<string, DataView> {
  const sum = (from: number, length: number) =>
    bytes.subarray(from, from + length).reduce((sum, byte) => sum + byte, 0) & 0xff;
  const name = (at: number) => new TextDecoder().decode(bytes.subarray(at, at + 4));
  const view = new DataView(bytes.buffer);
  assertEquals(new TextDecoder().decode(bytes.subarray(0, 8)), "RSD PTR ");
  assertEquals([sum(0, 20), sum(0, 36), view.getUint32(20, true)], [0, 0, 36]);
  const found = new Map<string, DataView>();
  const add = (gpa: number) => {
    const at = gpa - address;
    const length = view.getUint32(at + 4, true);
    if (name(at) !== "FACS") assertEquals(sum(at, length), 0, name(at));
    found.set(name(at), new DataView(bytes.buffer, at, length));
    return found.get(name(at))!;
  };
  const root = wide ? add(Number(view.getBigUint64(24, true))) : add(view.getUint32(16, true));
  for (let at = 36; at < root.byteLength; at += wide ? 8 : 4) {
    add(wide ? Number(root.getBigUint64(at, true)) : root.getUint32(at, true));
  }
  const fadt = found.get("FACP")!;
  add(fadt.getUint32(40, true));
  add(fadt.getUint32(36, true));
  assertEquals(
    [fadt.getBigUint64(140, true), fadt.getBigUint64(132, true)],
    [BigInt(fadt.getUint32(40, true)), BigInt(fadt.getUint32(36, true))],
  );
  assertEquals(fadt.getUint32(36, true) % 64, 0, "FACS is aligned");
  return found;
}

Deno.test("the tables are found from the RSDP, by RSDT and XSDT, and their sums are right", () => {
  for (const wide of [false, true]) {
    const small = tablesOf(acpiTables(), 0xe0000, wide);
    assertEquals([...small.keys()].sort(), [
      "APIC",
      "DSDT",
      "FACP",
      "FACS",
      wide ? "XSDT" : "RSDT",
    ]);
    const address = 0x7ff_f000;
    const options = { address, cpus: 4, hpet: true, pci: { ecam: 0xb000_0000 } };
    const large = tablesOf(acpiTables(options), address, wide);
    assertEquals([large.has("HPET"), large.has("MCFG")], [true, true]);
    assertEquals(large.get("MCFG")!.getBigUint64(44, true), 0xb000_0000n);
    assertEquals(large.get("HPET")!.getUint32(36, true), 0x8086_a201);
    assertEquals(tablesOf(acpiTables({ apics: false }), 0xe0000, wide).has("APIC"), false);
  }
  assertThrows(() => acpiTables({ address: 0xe0010 }), RangeError, "multiple of 64");
  assertThrows(() => acpiTables({ address: 2 ** 32 }), RangeError, "below 4 GiB");
});

Deno.test("the FADT says where the devices are", () => {
  const fadt = tablesOf(
    acpiTables({ power: { base: 0xb000, sci: 10 }, pmTimerBits: 32 }),
    0xe0000,
    true,
  ).get("FACP")!;
  const words = [46, 56, 64, 76].map((at) => fadt.getUint32(at, true) & 0xffff);
  assertEquals(words, [10, 0xb000, 0xb004, 0xb008]);
  const generic = [148, 172, 208, 116].map((at) => [
    fadt.getUint8(at),
    fadt.getUint8(at + 1),
    Number(fadt.getBigUint64(at + 4, true)),
  ]);
  assertEquals(generic, [[1, 32, 0xb000], [1, 16, 0xb004], [1, 32, 0xb008], [1, 8, 0xcf9]]);
  assertEquals([fadt.getUint8(128), fadt.getUint32(112, true) & 0x500], [6, 0x500]);
  assertEquals(fadt.byteLength, 244);
});

Deno.test("the MADT lists CPUs, the IOAPIC and overrides: none for the timer, which KVM has at pin 0", () => {
  const madt = tablesOf(acpiTables({ cpus: 3, pci: {} }), 0xe0000, true).get("APIC")!;
  const structures: number[][] = [];
  for (let at = 44; at < madt.byteLength; at += madt.getUint8(at + 1)) {
    const length = madt.getUint8(at + 1);
    structures.push(Array.from({ length }, (_, index) => madt.getUint8(at + index)));
  }
  assertEquals(structures.filter(([type]) => type === 0).map(([, , , id]) => id), [0, 1, 2]);
  assertEquals(structures.filter(([type]) => type === 2).map((each) => each.slice(3)), [
    [9, 9, 0, 0, 0, 0x0d, 0],
    [10, 10, 0, 0, 0, 0x0d, 0],
    [11, 11, 0, 0, 0, 0x0d, 0],
  ]);
});

Deno.test("the DSDT's AML: S5, and a PCI host bridge", () => {
  const body = (options: Parameters<typeof acpiTables>[0]) => {
    const dsdt = tablesOf(acpiTables(options), 0xe0000, true).get("DSDT")!;
    return [...new Uint8Array(dsdt.buffer, dsdt.byteOffset + 36, dsdt.byteLength - 36)];
  };
  const s5 = [0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12];
  assertEquals(body({}), [...s5, 0x06, 0x04, 0, 0, 0, 0]);
  assertEquals(body({ power: { s5: 5 } }), [...s5, 0x08, 0x04, 0x0a, 5, 0x0a, 5, 0, 0]);
  const pci = body({ pci: { irqs: [5, 6, 7, 8] } });
  // Scope (\_SB_) { Device (PCI0) { Name (_HID, EisaId ("PNP0A03")) …
  const scope = pci.slice(12);
  assertEquals(scope[0], 0x10);
  const length = scope[1] & 0xf | scope[2] << 4;
  assertEquals([scope[1] >> 6, length], [1, scope.length - 1]);
  const text = String.fromCharCode(...scope);
  assertEquals(text.slice(3, 8), "\\_SB_");
  assertEquals(text.indexOf("PCI0"), 12);
  assert(text.includes("_HID\x0c\x41\xd0\x0a\x03"));
  // Device 1: INTA# is the first of the interrupts; device 2: the second.
  assert(text.includes("\x0c\xff\xff\x01\x00\x00\x00\x0a\x05"));
  assert(text.includes("\x0c\xff\xff\x02\x00\x00\x00\x0a\x06"));
});

Deno.test("lengths and integers of AML have their shortest forms", () => {
  assertEquals([integer(0), integer(1), integer(2), integer(0x100), integer(0x1_0000)], [
    [0],
    [1],
    [0x0a, 2],
    [0x0b, 0, 1],
    [0x0c, 0, 0, 1, 0],
  ]);
  for (const [size, head] of [[60, 1], [61, 2], [4000, 2], [4091, 3], [70_000, 3]] as const) {
    const [op, first, ...rest] = buffer(Array(size).fill(7));
    const follow = first >> 6;
    let length = follow === 0 ? first : first & 0xf;
    for (let index = 0; index < follow; index++) length += rest[index] * 2 ** (4 + 8 * index);
    assertEquals([op, follow + 1, length], [0x11, head, rest.length + 1], String(size));
  }
});

Deno.test("a guest finds the power control by the tables, and turns itself off", () => {
  using vm = boot(
    asm`
      bits 32
      mov esi, 0xe0000
    look:
      cmp dword [esi], 'RSD '
      je found
      add esi, 16
      jmp look
    found:
      mov esi, [esi + 16]       ; RSDT
      mov esi, [esi + 36]       ; FACP
      mov edx, [esi + 64]       ; PM1a_CNT_BLK
      mov esi, [esi + 40]       ; DSDT
      add esi, 36
      cmp dword [esi + 1], '_S5_'
      jne wrong
      cmp byte [esi + 8], 0x0a
      jne wrong
      movzx eax, byte [esi + 9]
      shl eax, 10
      or eax, 0x2000
      out dx, ax
    wrong:
      hlt
    `,
    { devices: [new AcpiPower({ s5: 7 })] },
  );
  vm.memory.write(0xe0040, acpiTables({ address: 0xe0040, power: { s5: 7 } }));
  expect(vm).toExit([portOut(0x604, 0x3c00, 2), powerOff()]);
});
