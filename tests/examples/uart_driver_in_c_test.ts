/** The test of a driver in C, to copy: against a whole UART, and against registers that do what the test says. */
import { boot, expect, Image, type Machine } from "@vmexit/vmexit";
import { type Device, RegisterMap } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";

/** The driver, as the compiler makes it. Where a build has made it: `Image.elf("../build/uart.elf")`. */
function compiled(): Image {
  const source = new URL("../../guests/uart_16550.c", import.meta.url).pathname;
  const elf = Deno.makeTempFileSync({ suffix: ".elf" });
  const flags =
    "-m32 -g -O2 -ffreestanding -mgeneral-regs-only -fno-pic -no-pie -nostdlib -static " +
    "-fno-asynchronous-unwind-tables -Wl,-N,-Ttext=0x10000,--build-id=none,-e,uart_initialize";
  const args = [...flags.split(" "), "-o", elf, source];
  const { success, stderr } = new Deno.Command("cc", { args }).outputSync();
  assert(success, new TextDecoder().decode(stderr));
  const image = Image.open(elf);
  Deno.removeSync(elf);
  return image;
}

const driver = compiled();

const ERROR = { NO_DEVICE: -1n, TIMEOUT: -2n, SELF_TEST: -3n };
const LINE_ERROR = { overrun: -4n, parity: -5n, framing: -6n, break: -7n };

/** Calls a function of the driver that returns an int. */
const call = (vm: Machine, name: string, ...args: number[]) =>
  vm.call(name, args, { returns: "i32" });

// Against a whole 16550A: the serial line that every machine has at COM1.

Deno.test("the driver sets the line up, and tests the UART by loopback", () => {
  using vm = boot(driver);
  assertEquals(call(vm, "uart_initialize", 9600), 0n);
  assertEquals([vm.serial.baudRate, vm.serial.format], [9600, "8N1"]);
  assertEquals([vm.serial.dtr, vm.serial.rts], [true, true]);
  assertEquals(vm.serial.text, "", "what was sent in loopback has not left");
});

Deno.test("bytes go out, and come in", () => {
  using vm = boot(driver);
  call(vm, "uart_initialize", 115_200);
  call(vm, "uart_putc", 0x41);
  expect(vm).toHaveSerial("A");
  vm.serial.send("xy");
  assertEquals([call(vm, "uart_getc"), call(vm, "uart_getc")], [0x78n, 0x79n]);
  assertEquals(call(vm, "uart_getc"), ERROR.TIMEOUT, "nothing more has come");
});

Deno.test("errors on the line are reported once, and the next byte is whole", () => {
  using vm = boot(driver);
  call(vm, "uart_initialize", 115_200);
  for (const error of ["overrun", "parity", "framing", "break"] as const) {
    vm.serial.sendError(error, 0x40);
    vm.serial.send("A");
    assertEquals([call(vm, "uart_getc"), call(vm, "uart_getc")], [LINE_ERROR[error], 0x41n], error);
  }
});

// Against the registers alone, which can do what a whole UART never does.

/** A 16550A in loopback: what is sent is received. */
function registers() {
  const uart = new RegisterMap("UART", {
    port: 0x3f8,
    registers: {
      RBR: { offset: 0, access: "ro" },
      THR: { offset: 0, access: "wo" }, // and the divisor's low byte
      IER: { offset: 1 }, // and its high byte
      FCR: { offset: 2, access: "wo", fields: { ENABLE: 0, CLEAR: [2, 1], TRIGGER: [7, 6] } },
      LCR: { offset: 3, fields: { BITS: [1, 0], DLAB: 7 } },
      MCR: { offset: 4, fields: { DTR: 0, RTS: 1, OUT2: 3, LOOP: 4 } },
      LSR: {
        offset: 5,
        access: "ro",
        reset: 0x60,
        fields: { DR: 0, OE: 1, PE: 2, FE: 3, BI: 4, THRE: 5, TEMT: 6, FIFO: 7 },
      },
      SCR: { offset: 7 },
    },
    reserved: { seed: 1 }, // bits that the driver must not care about
  });
  uart.onWrite("THR", (byte) => {
    uart.set("RBR", byte);
    uart.set("LSR.DR", uart.get("MCR.LOOP"));
  });
  return uart;
}

/** The driver on a machine whose COM1 is these registers. */
const bootWith = (uart: Device) => boot(driver, { serial: false, devices: [uart] });

Deno.test("the line is set up in this order, and nothing else is touched", () => {
  const uart = registers();
  using vm = bootWith(uart);
  assertEquals(call(vm, "uart_initialize", 300), 0n);
  expect(uart).toHaveAccessed([
    uart.wrote("SCR"),
    uart.read("SCR"),
    uart.wrote("IER", 0),
    uart.wrote("LCR", { DLAB: 1 }),
    uart.wrote("THR", 384 & 0xff),
    uart.wrote("IER", 384 >> 8),
    uart.wrote("LCR", { DLAB: 0, BITS: 3 }),
    uart.wrote("FCR", { ENABLE: 1, CLEAR: 3, TRIGGER: 3 }),
    uart.wrote("MCR", { LOOP: 1 }),
    ...[0x55, 0xaa].flatMap((byte) => [
      uart.polled("LSR", { THRE: 1 }),
      uart.wrote("THR", byte),
      uart.polled("LSR", { DR: 1 }),
      uart.read("RBR", byte),
    ]),
    uart.wrote("MCR", { LOOP: 0, DTR: 1, RTS: 1, OUT2: 1 }),
  ]);
});

Deno.test("a transmitter that is late is waited for, and written to once", () => {
  const uart = registers();
  uart.delay("LSR.THRE", 20);
  using vm = bootWith(uart);
  assertEquals(call(vm, "uart_putc", 0x41), 0n);
  expect(uart).toHaveAccessed([uart.polled("LSR", { THRE: 1 }), uart.wrote("THR", 0x41)]);
});

Deno.test("a transmitter that is stuck is a time-out, and nothing is written", () => {
  const uart = registers();
  uart.stick("LSR.THRE", 0);
  using vm = bootWith(uart);
  assertEquals(call(vm, "uart_putc", 0x41), ERROR.TIMEOUT);
  assert(uart.accesses.every(({ kind }) => kind === "read"));
});

Deno.test("a UART that is not there is found out by each function", () => {
  const uart = registers();
  uart.float();
  using vm = bootWith(uart);
  assertEquals(call(vm, "uart_initialize", 9600), ERROR.NO_DEVICE);
  assertEquals(call(vm, "uart_putc", 0x41), ERROR.NO_DEVICE);
  assertEquals(call(vm, "uart_getc"), ERROR.NO_DEVICE);
});

Deno.test("an error that comes once is reported once", () => {
  const uart = registers();
  uart.set("LSR.DR", 1);
  uart.set("RBR", 0x41);
  uart.failOnce("LSR", { DR: 1, PE: 1, THRE: 1 });
  using vm = bootWith(uart);
  assertEquals([call(vm, "uart_getc"), call(vm, "uart_getc")], [LINE_ERROR.parity, 0x41n]);
});

Deno.test("a data line that is stuck fails the self-test, and the UART stays cut off", () => {
  const uart = registers();
  uart.onRead("RBR", () => uart.get("RBR") & 0xfe);
  using vm = bootWith(uart);
  assertEquals(call(vm, "uart_initialize", 9600), ERROR.SELF_TEST);
  assertEquals([uart.get("MCR.LOOP"), uart.get("MCR.DTR")], [1, 0]);
});
