import { asm, boot, expect } from "@vmexit/vmexit";
import { Pic, Uart } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import { KeptOutput } from "../../lib/devices/kept_output.ts";
import { PortDriver } from "./port_driver.ts";

const BASE = 0x3f8;
const INTERRUPT_ENABLE = BASE + 1;
const INTERRUPT_IDENTIFICATION = BASE + 2;
const FIFO_CONTROL = BASE + 2;
const LINE_CONTROL = BASE + 3;
const MODEM_CONTROL = BASE + 4;
const LINE_STATUS = BASE + 5;
const MODEM_STATUS = BASE + 6;
const SCRATCH = BASE + 7;

Deno.test("a guest that polls the line status gets what was sent, and what it answers is kept", () => {
  using vm = boot(asm`
    LINE_STATUS equ 0x3fd
    again:
      mov dx, LINE_STATUS
      in  al, dx
      test al, 1              ; data ready?
      jz done
      mov dx, 0x3f8
      in  al, dx
      and al, 0xdf            ; to upper case
      mov ah, al
      mov dx, LINE_STATUS
    .wait:
      in  al, dx
      test al, 0x20           ; transmitter empty?
      jz .wait
      mov al, ah
      mov dx, 0x3f8
      out dx, al
      jmp again
    done:
      hlt
  `);
  vm.serial.send("hello");
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.serial.text, "HELLO");
  assertEquals(vm.log.records()[0].answeredBy, "COM1");
  vm.serial.send(new Uint8Array([0x61]));
  vm.registers.rip = BigInt(vm.image.origin);
  vm.run();
  assertEquals(vm.serial.text, "HELLOA");
});

Deno.test("a string instruction sends a whole message", () => {
  using vm = boot(asm`
    mov dx, 0x3f8
    mov si, message
    mov cx, message.end - message
    rep outsb
    hlt
  message: db "grüße"
    .end:
  `);
  vm.run();
  assertEquals(vm.serial.text, "grüße");
  assertEquals(vm.serial.bytes, new TextEncoder().encode("grüße"));
});

Deno.test("the divisor latch stands before the data register as long as DLAB is set", () => {
  using vm = boot(asm`
    mov dx, 0x3fb
    mov al, 0x80
    out dx, al
    mov dx, 0x3f8
    mov al, 3
    out dx, al                ; the divisor's low byte: nothing is sent
    inc dx
    mov al, 1
    out dx, al
    in  al, dx
    mov bh, al
    dec dx
    in  al, dx
    mov bl, al
    mov dx, 0x3fb
    mov al, 3
    out dx, al
    mov dx, 0x3f8
    mov al, 'x'
    out dx, al
    hlt
  `);
  vm.serial.send("unread");
  vm.run();
  assertEquals([vm.registers.bx, vm.serial.text], [0x0103, "x"]);
});

/** A driver of COM1, a device beside which there is nothing but its interrupt controller. */
function driven(): { uart: Uart; driver: PortDriver; pic: Pic } {
  const uart = new Uart();
  const pic = new Pic({ vectors: [0x20, 0x28] });
  return { uart, pic, driver: new PortDriver([uart, pic]) };
}

/** Enables interrupts, with OUT2. */
function enable(driver: PortDriver, interrupts: number): void {
  driver.outs([MODEM_CONTROL, 0x08], [INTERRUPT_ENABLE, interrupts]);
}

Deno.test("a guest that finds nothing received reads zero, and sees so in the line status", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  assertEquals([driver.in(LINE_STATUS), driver.in(BASE)], [0x60, 0]);
  uart.send("a");
  assertEquals(driver.in(LINE_STATUS), 0x61);
  assertEquals([driver.in(BASE), driver.in(LINE_STATUS)], [0x61, 0x60]);
});

Deno.test("registers that a driver probes hold what it wrote, and reserved bits are 0", () => {
  const { driver } = driven();
  using _driver = driver;
  driver.outs([SCRATCH, 0x5a], [LINE_CONTROL, 0x03], [INTERRUPT_ENABLE, 0xff]);
  driver.outs([FIFO_CONTROL, 0xc7], [MODEM_CONTROL, 0xeb]);
  assertEquals(
    [SCRATCH, LINE_CONTROL, INTERRUPT_ENABLE, MODEM_CONTROL, MODEM_STATUS].map((port) =>
      driver.in(port)
    ),
    [0x5a, 0x03, 0x0f, 0x0b, 0xb0],
  );
  // What is read-only stays what it is.
  driver.outs([LINE_STATUS, 0], [MODEM_STATUS, 0]);
  assertEquals([driver.in(LINE_STATUS), driver.in(MODEM_STATUS)], [0x60, 0xb0]);
});

Deno.test("output is kept up to the capacity, and what came after is counted", () => {
  for (const capacity of [0, 3, 255, 256, 1000]) {
    const output = new KeptOutput(capacity);
    for (let index = 0; index < capacity + 5; index++) output.add(index & 0xff);
    assertEquals([output.bytes.length, output.dropped], [capacity, 5]);
    assertEquals(output.bytes, Uint8Array.from({ length: capacity }, (_, index) => index & 0xff));
  }
  const uart = new Uart("COM2", 2);
  using driver = new PortDriver([uart]);
  for (const letter of [0x61, 0x62, 0x63]) driver.out(0x2f8, letter);
  assertEquals([uart.text, uart.dropped], ["ab", 1]);
});

Deno.test("a word is two registers, as the bus splits it: none of its bytes is lost", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  driver.out(SCRATCH - 1, 0x5a00, 2);
  assertEquals(driver.in(SCRATCH), 0x5a);
  driver.out(BASE, 0x0141, 2);
  assertEquals([uart.text, driver.in(INTERRUPT_ENABLE)], ["A", 1]);
  assertEquals(driver.in(SCRATCH - 1, 2) >> 8, 0x5a);
  assertEquals(driver.in(SCRATCH, 2) >> 8, 0xff, "nobody is behind the last");
});

Deno.test("interrupts come in their priorities, each until what it tells of is read", () => {
  const { uart, driver, pic } = driven();
  using _driver = driver;
  const identify = () => driver.in(INTERRUPT_IDENTIFICATION);
  assertEquals(identify(), 0x01);
  enable(driver, 0x0f);
  uart.setModem({ cts: false });
  uart.sendError("parity", 0x61);
  assertEquals([identify(), identify()], [0x06, 0x06]);
  assertEquals(driver.in(LINE_STATUS), 0x65);
  assertEquals(identify(), 0x04);
  assertEquals([driver.in(LINE_STATUS), driver.in(BASE)], [0x61, 0x61]);
  assertEquals([identify(), identify()], [0x02, 0x00], "the read of the identification ends it");
  assertEquals(driver.in(MODEM_STATUS), 0xa1);
  assertEquals([identify(), driver.in(MODEM_STATUS)], [0x01, 0xa0]);
  assertEquals(pic.requested, 0x10, "IRQ 4, once");
});

Deno.test("each sent byte, and enabling it once more, brings the interrupt of the empty register back", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  enable(driver, 0x02);
  assertEquals(pic.acknowledge(), 0x24);
  driver.out(0x20, 0x20);
  assertEquals([driver.in(INTERRUPT_IDENTIFICATION), pic.hasInterrupt], [0x02, false]);
  driver.out(BASE, 0x41);
  assertEquals([pic.hasInterrupt, pic.acknowledge()], [true, 0x24]);
  driver.out(0x20, 0x20);
  // It is pending still: another byte is another edge.
  driver.out(BASE, 0x42);
  assertEquals(pic.acknowledge(), 0x24);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0x02);
  driver.outs([INTERRUPT_ENABLE, 0x02]);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0x01, "it was enabled already");
  driver.outs([INTERRUPT_ENABLE, 0], [INTERRUPT_ENABLE, 2]);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0x02);
});

Deno.test("without OUT2, and in loopback, the interrupt does not leave the board's gate", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  driver.outs([INTERRUPT_ENABLE, 0x02]);
  assertEquals([pic.requested, driver.in(INTERRUPT_IDENTIFICATION)], [0, 0x02]);
  driver.outs([INTERRUPT_ENABLE, 0], [MODEM_CONTROL, 0x18], [INTERRUPT_ENABLE, 2]);
  assertEquals(pic.requested, 0);
  driver.out(MODEM_CONTROL, 0x08);
  assertEquals(pic.requested, 0x10);
});

for (const [control, level] of [[0x01, 1], [0x41, 4], [0x81, 8], [0xc1, 14]] as const) {
  Deno.test(`the receiver interrupts at the trigger level of ${level}, and times out below`, () => {
    const { uart, driver } = driven();
    using _driver = driver;
    driver.outs([FIFO_CONTROL, control]);
    enable(driver, 0x01);
    uart.send(new Uint8Array(level));
    assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0xc4);
    driver.in(BASE);
    assertEquals(driver.in(INTERRUPT_IDENTIFICATION), level === 1 ? 0xc1 : 0xcc);
    for (let rest = level - 1; rest > 0; rest--) driver.in(BASE);
    assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0xc1);
  });
}

Deno.test("in loopback the FIFO holds sixteen bytes, or one, and the next overruns it", () => {
  for (const [control, room] of [[0x01, 16], [0x00, 1]] as const) {
    const { uart, driver } = driven();
    using _driver = driver;
    uart.send("not in loopback");
    driver.outs([FIFO_CONTROL, control], [MODEM_CONTROL, 0x10]);
    for (let index = 0; index < room; index++) driver.out(BASE, index);
    assertEquals(driver.in(LINE_STATUS), 0x61);
    driver.out(BASE, 0xaa);
    assertEquals([driver.in(LINE_STATUS), driver.in(LINE_STATUS)], [0x63, 0x61]);
    // The FIFO keeps what it has; the single register gets the new byte.
    const read: number[] = [];
    while ((driver.in(LINE_STATUS) & 1) !== 0) read.push(driver.in(BASE));
    assertEquals(read, room === 1 ? [0xaa] : Array.from({ length: 16 }, (_, index) => index));
    driver.outs([BASE, 1], [FIFO_CONTROL, control ^ 1]);
    assertEquals(driver.in(LINE_STATUS) & 1, 0, "a change of bit 0 clears the FIFOs");
    driver.out(MODEM_CONTROL, 0);
    assertEquals([driver.in(BASE), uart.text], [0x6e, ""]);
  }
});

Deno.test("errors come with their byte, and bit 7 tells of one in the FIFO", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  driver.out(FIFO_CONTROL, 0x01);
  uart.send("a");
  uart.sendError("framing", 0x62);
  uart.sendError("break");
  uart.sendError("overrun", 0x63);
  const read = () => [driver.in(LINE_STATUS), driver.in(BASE)];
  assertEquals([read(), read(), read(), read(), read()], [
    [0xe1, 0x61],
    [0xe9, 0x62],
    [0xf9, 0x00],
    [0x63, 0x63],
    [0x60, 0x00],
  ]);
  assertThrows(() => uart.sendError("noise" as "parity"), RangeError, "parity, framing");
});

Deno.test("modem lines: deltas, the trailing edge of RI, and what the guest drives", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  uart.setModem({ ri: true });
  assertEquals(driver.in(MODEM_STATUS), 0xf0);
  uart.setModem({ ri: false, dcd: false });
  assertEquals([driver.in(MODEM_STATUS), driver.in(MODEM_STATUS)], [0x3c, 0x30]);
  driver.out(MODEM_CONTROL, 0x03);
  assertEquals([uart.dtr, uart.rts], [true, true]);
  driver.out(MODEM_CONTROL, 0x13);
  assertEquals([uart.dtr, uart.rts, driver.in(MODEM_STATUS)], [false, false, 0x30]);
  driver.out(MODEM_CONTROL, 0x1c);
  assertEquals(driver.in(MODEM_STATUS), 0xc0 | 0x0b);
});

Deno.test("what the guest has set the line to", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  assertEquals([uart.baudRate, uart.format], [undefined, "5N1"]);
  driver.outs([LINE_CONTROL, 0x9f], [BASE, 12], [INTERRUPT_ENABLE, 0], [LINE_CONTROL, 0x1f]);
  assertEquals([uart.baudRate, uart.format], [9600, "8E2"]);
  const formats = [0x04, 0x0b, 0x2a, 0x3a].map((control) => {
    driver.out(LINE_CONTROL, control);
    return uart.format;
  });
  assertEquals(formats, ["5N1.5", "8O1", "7M1", "7S1"]);
});

Deno.test("a reset keeps the divisor, and what is on the line; what was saved comes back", () => {
  const { uart, driver } = driven();
  using _driver = driver;
  driver.outs([LINE_CONTROL, 0x80], [BASE, 1], [LINE_CONTROL, 3], [FIFO_CONTROL, 1], [BASE, 0x41]);
  enable(driver, 0x0f);
  uart.send("xy");
  const state = structuredClone(uart.save());
  driver.in(BASE);
  driver.out(BASE, 0x42);
  uart.reset();
  assertEquals([uart.baudRate, driver.in(INTERRUPT_ENABLE), driver.in(LINE_STATUS)], [
    115200,
    0,
    0x61,
  ]);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 1);
  uart.restore(state);
  assertEquals([uart.text, driver.in(BASE), uart.format, driver.in(INTERRUPT_ENABLE)], [
    "A",
    0x78,
    "8N1",
    0x0f,
  ]);
});

Deno.test("a line that a PC does not have is refused, and one elsewhere has its own ports", () => {
  assertThrows(() => new Uart("COM5" as "COM1"), RangeError, "COM1, COM2, COM3, COM4");
  const uart = new Uart({ base: 0x500, irq: 5, name: "the console" });
  using driver = new PortDriver([uart]);
  driver.out(0x500, 0x21);
  assertEquals(uart.text, "!");
});

/** What Linux's driver does to tell which UART it has (drivers/tty/serial/8250/8250_port.c, `autoconfig`). */
Deno.test("Linux's autoconfiguration finds a 16550A", () => {
  const { driver } = driven();
  using _driver = driver;
  driver.out(INTERRUPT_ENABLE, 0);
  const none = driver.in(INTERRUPT_ENABLE) & 0x0f;
  driver.out(INTERRUPT_ENABLE, 0x0f);
  const all = driver.in(INTERRUPT_ENABLE) & 0x0f;
  assertEquals([none, all], [0, 0x0f]);
  driver.out(INTERRUPT_ENABLE, 0);
  driver.out(MODEM_CONTROL, 0x10 | 0x0a);
  assertEquals(driver.in(MODEM_STATUS) & 0xf0, 0x90);
  driver.outs([MODEM_CONTROL, 0x08], [LINE_CONTROL, 0xbf], [FIFO_CONTROL, 0]);
  driver.outs([LINE_CONTROL, 0], [FIFO_CONTROL, 1]);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION) >> 6, 3);
  // autoconfig_16550a: neither an EFR, nor the 64 bytes of a 16750, nor XScale's UUE.
  driver.outs([FIFO_CONTROL, 1], [LINE_CONTROL, 0x80]);
  assertEquals(driver.in(FIFO_CONTROL), 0xc1);
  driver.out(LINE_CONTROL, 0xbf);
  assertEquals(driver.in(FIFO_CONTROL), 0xc1);
  driver.outs([LINE_CONTROL, 0], [FIFO_CONTROL, 0x21]);
  const status1 = driver.in(INTERRUPT_IDENTIFICATION) >> 5;
  driver.outs([FIFO_CONTROL, 1], [LINE_CONTROL, 0x80], [FIFO_CONTROL, 0x21]);
  const status2 = driver.in(INTERRUPT_IDENTIFICATION) >> 5;
  assertEquals([status1, status2], [6, 6]);
  driver.outs([FIFO_CONTROL, 1], [LINE_CONTROL, 0], [INTERRUPT_ENABLE, 0x40]);
  assertEquals(driver.in(INTERRUPT_ENABLE), 0);
  // serial8250_do_startup: whether enabling the interrupt of the transmitter once more raises it again.
  driver.out(INTERRUPT_ENABLE, 2);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0xc2);
  driver.outs([INTERRUPT_ENABLE, 0], [INTERRUPT_ENABLE, 2]);
  assertEquals(driver.in(INTERRUPT_IDENTIFICATION), 0xc2);
});

/** Echoes by interrupt, in capitals, until a newline. */
const ECHO = asm`
  %macro put 2
    mov dx, %1
    mov al, %2
    out dx, al
  %endmacro
  mov word [0x24 * 4], received
  mov word [0x24 * 4 + 2], 0
  put 0x20, 0x11
  put 0x21, 0x20
  put 0x21, 4
  put 0x21, 1
  put 0x21, 0xef
  put 0x3fa, 0xc7
  put 0x3fc, 0x0b
  put 0x3f9, 0x01
again:
  sti
  hlt
  cli
  cmp byte [0x7000], 10
  jne again
  hlt
received:
  mov dx, 0x3fd
  in al, dx
  test al, 1
  jz .done
  mov dx, 0x3f8
  in al, dx
  mov [0x7000], al
  cmp al, 10
  je .out
  and al, 0xdf
.out:
  out dx, al
  jmp received
.done:
  put 0x20, 0x20
  iret
`;

Deno.test("COM1 interrupts by IRQ 4, by the controllers of the board and of the kernel", () => {
  const text = "a line of more than sixteen letters\n";
  for (const options of [{ devices: [new Pic()] }, { irqchip: true }] as const) {
    using vm = boot(ECHO, options);
    vm.serial.send(text);
    vm.run();
    assertEquals(vm.serial.bytes.length, text.length);
    expect(vm).toHaveSerialContaining("SIXTEEN");
  }
});

Deno.test("the usual initialization finds its byte in loopback, and a 16550A by its FIFOs", () => {
  using vm = boot(asm`
    %macro put 2
      mov dx, 0x3f8 + %1
      mov al, %2
      out dx, al
    %endmacro
    put 1, 0x00
    put 3, 0x80             ; the divisor
    put 0, 0x03
    put 1, 0x00
    put 3, 0x03             ; 8 bits, no parity
    put 2, 0xc7             ; FIFOs on
    in al, dx
    mov bl, al
    put 4, 0x1e             ; loopback, RTS, OUT1 and OUT2: DSR falls
    mov dx, 0x3fe
    in al, dx
    mov bh, al
    put 0, 0xae
    in al, dx
    mov cl, al
    put 4, 0x0f
    put 0, 'k'
    put 2, 0
    in al, dx
    mov ch, al
    hlt
  `);
  vm.run();
  expect(vm).toHaveRegisters({ bl: 0xc1, bh: 0xd2, cl: 0xae, ch: 0x01 });
  expect(vm).toHaveSerial("k");
});
