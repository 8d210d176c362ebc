import { asm, boot, expect } from "@vmexit/vmexit";
import { Uart } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";

const BASE = 0x3f8;
const LINE_CONTROL = BASE + 3;
const LINE_STATUS = BASE + 5;
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

Deno.test("a guest that finds nothing received reads zero, and sees so in the line status", () => {
  const uart = new Uart(BASE, "COM1");
  assertEquals([uart.read(LINE_STATUS), uart.read(BASE)], [0x60, 0]);
  uart.send("a");
  assertEquals(uart.read(LINE_STATUS), 0x61);
  assertEquals([uart.read(BASE), uart.read(LINE_STATUS)], [0x61, 0x60]);
});

Deno.test("registers that a driver probes hold what it wrote, and no interrupt is ever pending", () => {
  const uart = new Uart(BASE, "COM1");
  uart.write(SCRATCH, 0x5a);
  uart.write(LINE_CONTROL, 0x03);
  uart.write(BASE + 1, 0x0f);
  uart.write(BASE + 2, 0xc7);
  uart.write(BASE + 4, 0x0b);
  assertEquals(
    [SCRATCH, LINE_CONTROL, BASE + 1, BASE + 2, BASE + 4, BASE + 6].map((port) => uart.read(port)),
    [0x5a, 0x03, 0x0f, 0xc1, 0x0b, 0xb0],
  );
  // What is read-only stays what it is.
  uart.write(LINE_STATUS, 0);
  assertEquals(uart.read(LINE_STATUS), 0x60);
});

Deno.test("output is kept up to the capacity, and what came after is counted", () => {
  for (const capacity of [0, 3, 255, 256, 1000]) {
    const uart = new Uart(BASE, "COM1", capacity);
    for (let index = 0; index < capacity + 5; index++) uart.write(BASE, index & 0xff);
    assertEquals([uart.bytes.length, uart.dropped], [capacity, 5]);
    assertEquals(uart.bytes, Uint8Array.from({ length: capacity }, (_, index) => index & 0xff));
  }
});

Deno.test("a wide write is taken by its lowest byte", () => {
  const uart = new Uart(BASE, "COM1");
  uart.write(BASE, 0x4241);
  assertEquals(uart.text, "A");
});

Deno.test("a word is two registers, as the bus splits it: none of its bytes is lost", () => {
  const uart = new Uart(BASE, "COM1");
  uart.write(SCRATCH - 1, 0x5a00, 2);
  assertEquals(uart.read(SCRATCH), 0x5a);
  uart.write(BASE, 0x0141, 2);
  assertEquals([uart.text, uart.read(BASE + 1)], ["A", 1]);
  assertEquals(uart.read(SCRATCH - 1, 2) >> 8, 0x5a);
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
    put 4, 0x1e             ; loopback, RTS, OUT1 and OUT2
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
  expect(vm).toHaveRegisters({ bl: 0xc1, bh: 0xd0, cl: 0xae, ch: 0x01 });
  expect(vm).toHaveSerial("k");
});
