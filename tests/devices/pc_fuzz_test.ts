import { AcpiPmTimer, AcpiPower, Cmos, type Device, Hpet, pc, Pic } from "@vmexit/vmexit/devices";
import { DebugConsole, I8042, Pit, Uart } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { fuzz } from "./fuzz.ts";

/** The device on a board that is not reset, and not turned off, and whose A20 gate hides nothing: the guest goes on. */
function staysOn(device: Device): Device {
  let isOpen = true;
  return {
    name: device.name,
    attach(board) {
      const own = Object.create(board, {
        reset: { value: () => {} },
        powerOff: { value: () => {} },
        a20: { get: () => isOpen, set: (open: boolean) => isOpen = open },
      });
      device.attach(own);
    },
    reset: () => device.reset?.(),
    save: () => device.save?.(),
    restore: (state) => device.restore?.(state),
  };
}

Deno.test("100,000 random accesses to PIC, PIT and real-time clock", () => {
  fuzz({
    devices: () => [new Pic(), new Pit(), new Cmos()],
    ports: [[0x20, 0x22], [0x3f, 0x44], [0x61, 0x61], [0x70, 0x72], [0xa0, 0xa1], [0x4d0, 0x4d2]],
    values: [0x11, 0x20, 0x0c, 0x34, 0x36, 0xb0, 0xe2, 0x0a, 0x0b, 0x0c],
  });
});

Deno.test("100,000 random accesses to the keyboard controller and port 0x92", () => {
  fuzz({
    devices: () => {
      const i8042 = new I8042();
      i8042.keyboard.type("a keyboard on which somebody types\n".repeat(20));
      i8042.mouse.move(10_000, -10_000);
      const parts = pc({ i8042, pit: false, cmos: false });
      return parts.map((part) => part instanceof Pic ? part : staysOn(part));
    },
    ports: [[0x60, 0x60], [0x64, 0x65], [0x80, 0x80], [0x92, 0x93], [0xcf9, 0xcfa]],
    values: [0x20, 0x60, 0xaa, 0xd1, 0xd4, 0xed, 0xf0, 0xf2, 0xf4, 0xff, 0x65, 0x06],
  });
});

Deno.test("100,000 random accesses to two UARTs", () => {
  fuzz({
    devices: () => {
      const uart = new Uart("COM2");
      uart.send("text that waits ".repeat(1000));
      uart.sendError("parity", 0x41);
      return [uart, new Uart({ base: 0x500, irq: 5 }), new Pic(), new DebugConsole()];
    },
    ports: [[0x2f7, 0x300], [0x4ff, 0x508], [0xe9, 0xea]],
    values: [0x01, 0xc7, 0x10, 0x1f, 0x80, 0x0f],
  });
});

Deno.test("100,000 random accesses to ACPI's registers and the HPET", () => {
  fuzz({
    devices: () => [
      staysOn(new AcpiPower()),
      new AcpiPmTimer(),
      new AcpiPmTimer({ bits: 32, port: 0x708 }),
      new Hpet(),
      new Pic(),
    ],
    ports: [[0x5ff, 0x60c], [0x707, 0x70c]],
    mmio: [[0xfed0_0000, 0xfed0_0180], [0xfed0_0000, 0xfed0_0020], [0xfed0_03f0, 0xfed0_0400]],
    values: [1, 3, 0x4c, 0x14c, 0x1604, 1000, 0x2000],
  });
});

Deno.test("a state that was saved is plain data, of every device", () => {
  for (const device of [...pc({ hpet: new Hpet() }), new Uart("COM3"), new DebugConsole()]) {
    if (device.save === undefined) throw new Error(`${device.name} saves nothing`);
    // Those that save a part of the board are to be on one: the other tests do that.
    if (["system control port", "i8042", "PIT", "ACPI PM timer", "HPET"].includes(device.name)) {
      continue;
    }
    const state = device.save();
    assertEquals(structuredClone(state), state, device.name);
  }
});
