import { asm, boot } from "@vmexit/vmexit";
import {
  AcpiPmTimer,
  AcpiPower,
  acpiTables,
  Cmos,
  Hpet,
  I8042,
  pc,
  Pic,
  Pit,
  SystemControlPort,
  TestClock,
  Uart,
} from "@vmexit/vmexit/devices";
import { assertThrows } from "@std/assert";

const mouse = new I8042().mouse;
const wrong = (options: object) => options as never;

/** What a test's author could give a device by mistake, and what the error names. */
const MISTAKES: readonly (readonly [make: () => unknown, named: string])[] = [
  [() => new Pic({ vectors: [0x0c, 0x70] }), "vector 12"],
  [() => new Pic({ vectors: [0x100, 0x70] }), "vector 256"],
  [() => new Pic({ vectors: [8, 0x70], masked: 0x1_0000 }), "mask the lines 65536"],
  [() => new Pic(wrong({ vector: 8 })), "vectors"],
  [() => new Cmos(wrong({ time: new Date() })), "the option time"],
  [() => new Cmos({ content: { 0x80: 1 } }), "index 128"],
  [() => new Cmos({ content: { 0x10: 256 } }), "byte 256"],
  [() => new I8042({ interval: -1 }), "interval -1"],
  [() => mouse.move(NaN, 0), "move a mouse by NaN"],
  [() => mouse.move(0, 1e9), "move a mouse by 1000000000"],
  [() => mouse.press("wheel" as "left"), "left, right, middle"],
  [() => new Uart(wrong({ base: 0x500, IRQ: 4 })), "the option IRQ"],
  [() => new Uart().setModem(wrong({ CTS: true })), "the option CTS"],
  [() => new Uart().setModem(wrong({ cts: 1 })), "give true or false"],
  [() => new SystemControlPort(wrong({ a20: 0 })), "give true or false"],
  [() => new AcpiPower({ s5: 8 }), "sleep type 8"],
  [() => new AcpiPmTimer(wrong({ bit: 32 })), "the option bit"],
  [() => new Hpet(wrong({ timer: 3 })), "the option timer"],
  [() => acpiTables(wrong({ cpu: 2 })), "the option cpu"],
  [() => pc(wrong({ rtc: false })), "the option rtc"],
];

for (const [make, named] of MISTAKES) {
  Deno.test(`a mistake is named: ${named}`, () => {
    assertThrows(make, Error, named);
  });
}

Deno.test("a timer that is due all the time, and that nobody hears, ends with the time limit", () => {
  using vm = boot(
    asm`
      mov al, 0xff
      out 0x21, al
      mov al, 0x14            ; counter 0, one byte, mode 2
      out 0x43, al
      mov al, 1
      out 0x40, al
      sti
    again: hlt
      jmp again
    `,
    { clock: new TestClock(), timeout: 10, devices: [new Pic(), new Pit()] },
  );
  assertThrows(() => vm.run(), Error, "did not end within");
});
