import {
  any,
  asm,
  AssertionError,
  boot,
  expect,
  GuestFaultError,
  hlt,
  type Machine,
  mmioRead,
  mmioWrite,
  portIn,
  portOut,
  TimeLimitError,
} from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

/** Runs into its time limit. */
function endless(): Machine {
  return boot(asm`jmp $`);
}

/** A guest whose `out` runs another machine, which fails in its own way. */
function withOther(run: (other: Machine) => void, other: Machine): Machine {
  return boot(
    asm`
      out 0x81, al
      out 0x80, al
      hlt
    `,
    {
      catchFaults: true,
      ports: { 0x80: { write: () => run(other) }, 0x81: { write() {} } },
    },
  );
}

Deno.test("another machine's time limit, run in a handler, is not this one's", () => {
  using other = endless();
  const run = (machine: Machine) => void machine.run({ timeout: 5 });
  using vm = withOther(run, other);
  assertThrows(() => expect(vm).toRunOutOfTime({ timeout: 100 }), TimeLimitError);
  using silent = withOther(run, other);
  assertThrows(
    () => expect(silent).toExit([portOut(0x81)], { then: "silence" }),
    TimeLimitError,
  );
});

Deno.test("another machine's fault, run in a handler, is not this one's", () => {
  using other = boot(asm`ud2`, { catchFaults: true });
  using vm = withOther((machine) => void machine.run(), other);
  assertThrows(() => expect(vm).toFault("#UD"), GuestFaultError);
});

Deno.test("a loop over the exits cannot go past a fault unseen", () => {
  using vm = boot(
    asm`
      out 0x80, al
      ud2
    `,
    { catchFaults: true },
  );
  const seen: string[] = [];
  assertThrows(() => {
    for (const { exit } of vm.exits()) seen.push(exit.reason);
  }, GuestFaultError);
  assertEquals(seen.length, 2);
});

Deno.test("exits of CPUs that are named by a text run none, and are refused", () => {
  using vm = boot(asm`hlt`, { cpus: [{}, {}] });
  assertThrows(() => vm.exits({ cpus: ["0"] as never }).next(), RangeError, 'Cannot run CPU "0"');
  assertThrows(() => vm.exits({ cpus: 0 as never }).next(), TypeError, "give a list");
});

Deno.test("of several CPUs the one that is named must still run, and one that waits in HLT does not", () => {
  using vm = boot(
    asm`
      hlt
    second:
      jmp second
    `,
    { cpus: [{}, { entry: "second" }] },
  );
  assertThrows(
    () => expect(vm.cpus[0]).toRunOutOfTime({ timeout: 5 }),
    AssertionError,
    "waited in HLT",
  );
  expect(vm.cpus[1]).toRunOutOfTime({ timeout: 5 });
  using waiting = boot(
    asm`
      sti
      hlt
    `,
    { irqchip: true },
  );
  assertThrows(
    () => expect(waiting).toRunOutOfTime({ timeout: 10 }),
    AssertionError,
    "waited in HLT",
  );
});

Deno.test("a serial line is compared by its bytes", () => {
  using vm = boot(asm`
    mov dx, 0x3f8
    mov si, text
    mov cx, end - text
    rep outsb
    hlt
  text: db 0xef, 0xbb, 0xbf, "xp", 0xff
  end:
  `);
  vm.run();
  assertThrows(() => expect(vm).toHaveSerial("xp\ufffd"), AssertionError);
  assertThrows(() => expect(vm).toHaveSerial("\ufeffxp\ufffd"), AssertionError);
  assertThrows(() => expect(vm).toHaveSerialContaining("\ufffd"), AssertionError);
  assertThrows(() => expect(vm).not.toHaveSerial(/p/y), AssertionError);
  expect(vm).toHaveSerialContaining("xp");
  using sent = boot(asm`
    mov dx, 0x3f8
    mov si, text
    mov cx, 3
    rep outsb
    hlt
  text: db 0xef, 0xbf, 0xbd
  `);
  sent.run();
  expect(sent).toHaveSerialContaining("\ufffd");
  assertThrows(() => expect(sent).not.toHaveSerialContaining("\ufffd"), AssertionError);
});

Deno.test("text at any port or address comes to one place", () => {
  using ports = boot(asm`
    mov al, 'A'
    out 0x80, al
    mov al, 'B'
    out 0x81, al
    hlt
  `);
  assertThrows(
    () => expect(ports).toExit([portOut(any, "AB"), hlt()]),
    AssertionError,
    "received IO out 0x81",
  );
  using apart = boot(
    asm`
      mov byte [0x2001], 'A'
      mov byte [0x9000], 'B'
      hlt
    `,
    { memory: "4K" },
  );
  assertThrows(
    () => expect(apart).toExit([mmioWrite(any, "AB"), hlt()]),
    AssertionError,
    "received MMIO write 0x9000",
  );
  using beside = boot(
    asm`
      mov byte [0x2001], 'A'
      mov byte [0x2002], 'B'
      hlt
    `,
    { memory: "4K" },
  );
  expect(beside).toExit([mmioWrite(any, "AB"), hlt()]);
});

Deno.test("a device takes no access that covers what a pattern names", () => {
  using ports = boot(asm`
    mov al, 1
    out 0x80, al
    out 0x7f, ax
    hlt
  `);
  ports.ports.on([0x7f, 0x80], { write() {} });
  assertThrows(
    () => expect(ports).toExit([portOut(0x80, 1), hlt()]),
    AssertionError,
    "received IO out 0x7f word",
  );
  using vm = boot(
    asm`
      mov byte [0x2001], 1
      mov eax, 0x55667788
      mov [0x2000], eax
      hlt
    `,
    { memory: "4K", mmio: [[[0x2000, 0x2fff], { write() {} }]] },
  );
  assertThrows(
    () => expect(vm).toExit([mmioWrite(0x2001, 1), hlt()]),
    AssertionError,
    "received MMIO write 0x2000",
  );
});

Deno.test("a pattern keeps what it was given: the guest is not compared with itself", () => {
  using vm = boot(asm`
    mov byte [0x900], 7
    mov al, [0x900]
    out 0x80, al
    hlt
  `);
  const pattern = portOut(0x80, vm.memory.view(0x900, 1));
  assertThrows(() => expect(vm).toExit([pattern, hlt()]), AssertionError, "expected IO out 0x80");
});

Deno.test("a fault with an error code is no `int`, whatever bytes are before it", () => {
  using vm = boot(
    asm`
      bits 64
      mov ax, 0x50
      mov ebx, 0x0dcd0000       ; ends in cd 0d
    load:
      mov ds, ax
    `,
    { catchFaults: true },
  );
  expect(vm).toFault("#GP", { errorCode: 0x50, rip: "load" });
});

Deno.test("a device takes no access to the second port of a word, or the last bytes of a dword, that a pattern names", () => {
  using ports = boot(asm`
    mov ax, 0x1234
    out 0x80, ax
    mov al, 1
    out 0x81, al
    in al, 0x82
    in ax, 0x81
    hlt
  `);
  ports.ports.on([0x81, 0x82], { read: () => 0, write() {} });
  assertThrows(
    () => expect(ports).toExit([portOut(0x80, 0x1234), portIn(0x81).returns(0x1234), hlt()]),
    AssertionError,
    "received IO out 0x81 byte",
  );
  assertThrows(
    () => expect(ports).toExit([portIn(0x81).returns(0x1234), hlt()]),
    AssertionError,
    "received IO in 0x82 byte",
  );
  using vm = boot(
    asm`
      mov dword [0x2000], 5
      mov byte [0x2003], 1
      mov al, [0x2007]
      mov eax, [0x2004]
      hlt
    `,
    { memory: "4K", mmio: [[[0x2001, 0x2fff], { read: () => 0, write() {} }]] },
  );
  assertThrows(
    () => expect(vm).toExit([mmioWrite(0x2000, 5, 4), mmioRead(0x2004, 4).returns(0), hlt()]),
    AssertionError,
    "received MMIO write 0x2003",
  );
  assertThrows(
    () => expect(vm).toExit([mmioRead(0x2004, 4).returns(0), hlt()]),
    AssertionError,
    "received MMIO read 0x2007",
  );
});

Deno.test("half of a surrogate pair is no text", () => {
  using vm = boot(asm`hlt`);
  vm.run();
  for (
    const call of [
      () => portOut(0x80, "\ud800"),
      () => portIn(0x80).returns("a\udc00b"),
      () => mmioWrite(0x2000, "\udc00\ud800"),
      () => expect(vm).toHaveSerial("\ud800"),
      () => expect(vm).toHaveSerialContaining("\ud800"),
      () => expect(vm).toHavePortOutput(0x80, "\ud800"),
      () => expect(vm).toHaveMemory(0x500, "\ud800"),
      () => vm.memory.write(0x500, "\ud800"),
    ]
  ) {
    assertThrows(call, TypeError, "half of a surrogate pair");
  }
  portOut(0x80, "\ud83d\ude00");
});

Deno.test("what is no UTF-8 on a serial line has no match that hangs on it", () => {
  using vm = boot(asm`
    mov dx, 0x3f8
    mov si, text
    mov cx, end - text
    rep outsb
    hlt
  text: db "took 5 ms", 0xff
  end:
  `);
  vm.run();
  assertThrows(
    () => expect(vm).toHaveSerial(/\ufffd/),
    TypeError,
    "some of its bytes are no UTF-8",
  );
  assertThrows(() => expect(vm).not.toHaveSerial(/\ufffd/), TypeError, "it hangs on them");
  expect(vm).toHaveSerial(/took \d ms/);
  expect(vm).not.toHaveSerial(/took \d s/);
});

Deno.test("memory is not compared with a view of itself", () => {
  using vm = boot(asm`
    mov byte [0x900], 7
    hlt
  `);
  const before = vm.memory.read(0x900, 1);
  const views = [vm.memory.view(0x900, 1), vm.memory.slots[0].bytes.subarray(0x900, 0x901)];
  vm.run();
  for (const view of views) {
    assertThrows(() => expect(vm).toHaveMemory(0x900, view), TypeError, "what a view of it shows");
  }
  expect(vm).not.toHaveMemory(0x900, before);
});
