import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect, GuestFaultError, Image, modes } from "@vmexit/vmexit";
import { failureOf } from "../../expect/messages.ts";

/** Enables interrupts and loops, has a #UD, and executes an `int`. */
const guest = asm`
  sti
again:
  jmp again
invalid:
  ud2
`;

for (const { name, options } of modes(["real", "protected", "long"])) {
  Deno.test(`${name}: an injected interrupt is told as one, and is not the exception of its vector`, () => {
    for (const vector of [6, 13]) {
      using vm = boot(guest, { ...options, catchFaults: true });
      vm.inject.interrupt(vector);
      const exception = vector === 6 ? "#UD" : "#GP";
      const { message } = failureOf(() => expect(vm).toFault(exception));
      assertStringIncludes(
        message,
        `received interrupt 0x${vector.toString(16)} at ${hexOf(vm.image.symbol("again"))} (\`jmp`,
      );
      assertStringIncludes(message, `an interrupt from outside (no ${exception})`);
      const { fault } = vm;
      assertEquals([fault!.external, fault!.software, fault!.ambiguous], [true, false, false]);
      assertEquals(fault!.errorCode, undefined);
      // What the guest does by itself afterwards is an exception.
      vm.registers.rip = "invalid";
      expect(vm).toFault("#UD", { rip: "invalid" });
    }
  });
}

function hexOf(value: bigint): string {
  return `0x${value.toString(16)}`;
}

Deno.test("an injected interrupt that waits for IF is told as one when it comes", () => {
  using vm = boot(
    asm`
      cli
      out 0x80, al
      sti
      nop
    here:
      hlt
    `,
    { catchFaults: true, ports: { 0x80: { write() {} } } },
  );
  vm.inject.interrupt(0);
  const error = assertThrows(() => vm.run(), GuestFaultError);
  assertEquals([error.fault.name, error.fault.external], ["interrupt 0x0", true]);
});

Deno.test("an interrupt of the PIC through a vector of exceptions is none, and the next fault is one", () => {
  using vm = boot(
    asm`
      sti
    again:
      jmp again
    divide:
      xor cl, cl
      div cl
    `,
    { irqchip: true, catchFaults: true },
  );
  // As after a reset: its vectors begin at 0.
  vm.interrupts.raise(0);
  const { message } = failureOf(() => expect(vm).toFault("#DE"));
  assertStringIncludes(message, "received interrupt 0x0 at");
  assertEquals(vm.fault!.external, true);
  // It stays in service: nobody ends it.
  vm.registers.rip = "divide";
  expect(vm).toFault("#DE");
});

Deno.test("bytes that look like an int in front of a fault are none, where lines tell", () => {
  const source = asm`
    mov eax, 0x06cd0000         ; ends in cd 06
  invalid:
    ud2
  int_6:
    int 6
  after:
    ud2
  `;
  for (const mode of ["real", "protected"] as const) {
    using vm = boot(source, { mode, catchFaults: true, ...mode === "real" ? {} : {} });
    expect(vm).toFault("#UD", { rip: "invalid" });
    assertEquals(vm.fault!.linear, vm.image.symbol("invalid"));
    vm.registers.rip = "int_6";
    expect(vm).toFault("#UD", { rip: "after", software: true });
    assertEquals(vm.fault!.linear, vm.image.symbol("int_6"));
  }
});

Deno.test("where nothing tells, neither is what is expected", () => {
  const code = [0x66, 0xb8, 0x00, 0x00, 0xcd, 0x06, 0x0f, 0x0b];
  const image = Image.fromBytes(new Uint8Array(code), { origin: 0x600 });
  for (const software of [true, false, undefined]) {
    using vm = boot(image, { catchFaults: true });
    const { message } = failureOf(() =>
      expect(vm).toFault("#UD", ...software === undefined ? [] : [{ software }])
    );
    assertStringIncludes(
      message,
      "or `int 0x6` in front of it: without source lines nothing tells which",
    );
    assertEquals(vm.fault!.ambiguous, true);
  }
  // Through a vector of a trap, or with an error code to miss, it is an int for sure.
  using int13 = boot(
    Image.fromBytes(new Uint8Array([0x90, 0xcd, 0x0d]), { origin: 0x10000, bits: 32 }),
    { mode: "protected", catchFaults: true },
  );
  expect(int13).toFault("#GP", { software: true });
});

Deno.test("labels tell where instructions begin, as long as all between is code", () => {
  const bytes = new Uint8Array([0x90, 0xcd, 0x06, 0x66, 0xb8, 0, 0, 0xcd, 0x06, 0x0f, 0x0b]);
  const image = Image.fromBytes(bytes, { origin: 0x600, symbols: { start: 0x600 } } as never);
  using vm = boot(image, { catchFaults: true });
  expect(vm).toFault("#UD", { software: true });
  expect(vm).toFault("#UD", { rip: 0x609 });
});

Deno.test("what lies above a frame is not taken for one of virtual-8086 mode", () => {
  using vm = boot(
    asm`
      bits 32
    begin:
      db 0x66, 0x81, 0xfa, 0x02, 0x00   ; in the place of EFLAGS: 0x02fa8166, in which VM is set
      int 13
    `,
    { catchFaults: true, stack: 0x10000 },
  );
  const { rsp } = vm.registers;
  expect(vm).toFault("#GP", { software: true });
  assertEquals([vm.fault!.errorCode, vm.registers.rsp, vm.fault!.cpl], [undefined, rsp, 0]);
});
