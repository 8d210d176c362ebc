import {
  asm,
  AssertionError,
  boot,
  exit,
  expect,
  hlt,
  type Machine,
  portOut,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

const EXITS = 200;

/** A guest that writes CX to a port, again and again, each time with BL, and halts. */
const GUEST = asm`
    mov cx, ${EXITS}
  again:
    mov al, bl
    out 0x10, al
  behind:
    loop again
    hlt
`;

/** Runs the guest. At one exit in its midst `what` is done by the handler. */
function during(what: (vm: Machine) => void, at = 100): { vm: Machine; seen: number[] } {
  const vm = boot(GUEST, { timeout: 10_000, recordExits: EXITS + 1 });
  const seen: number[] = [];
  vm.ports.on(0x10, {
    name: "first",
    write(_port, value): void {
      seen.push(value);
      if (seen.length === at) what(vm);
    },
  });
  return { vm, seen };
}

Deno.test("port writes in a row are in the log as others are, with their handler's name", () => {
  const { vm, seen } = during((vm) => void (vm.registers.bl = 7));
  using _ = vm;
  assertEquals(vm.run().reason, "HLT");
  assertEquals(seen, [...Array(100).fill(0), ...Array(100).fill(7)]);
  const records = vm.log.records();
  assertEquals(records.length, EXITS + 1);
  for (const [index, record] of records.slice(0, EXITS).entries()) {
    const { number, isWrite, address, size, count, value, answeredBy, fault } = record;
    assertEquals(
      { number, isWrite, address, size, count, value, answeredBy, fault },
      {
        number: index + 1,
        isWrite: true,
        address: 0x10,
        size: 1,
        count: 1,
        value: BigInt(seen[index]),
        answeredBy: "first",
        fault: undefined,
      },
    );
  }
  assertEquals([...vm.portOutput.bytes(0x10)], seen);
});

Deno.test("registers that a handler reads are those of its exit, each time", () => {
  using vm = boot(GUEST, { timeout: 10_000 });
  const seen: number[] = [];
  vm.ports.on(0x10, { write: () => void seen.push(vm.registers.cx) });
  vm.run();
  assertEquals(seen, Array.from({ length: EXITS }, (_, index) => EXITS - index));
});

Deno.test("a handler that stops the run has its exit as the last", () => {
  const { vm, seen } = during((vm) => vm.stop());
  using _ = vm;
  assertEquals(vm.run().reason, "IO");
  assertEquals([seen.length, vm.log.total, vm.registers.cx], [100, 100, EXITS - 99]);
  assertEquals(vm.run().reason, "HLT");
  assertEquals(seen.length, EXITS);
});

Deno.test("a breakpoint that a handler sets stops the guest at once", () => {
  const { vm, seen } = during((vm) => void vm.debug.breakAt("behind", { by: "step" }));
  using _ = vm;
  assertEquals(vm.run().reason, "DEBUG");
  assertEquals(seen.length, 100);
});

Deno.test("an interrupt that a handler injects comes behind its exit", () => {
  using vm = boot(
    asm`
      mov word [4 * 0x20], handler
      mov word [4 * 0x20 + 2], 0
      sti
      mov cx, ${EXITS}
    again:
      out 0x10, al
      loop again
      hlt
    handler:
      mov al, 1
      iret
    `,
    { mode: "real", timeout: 10_000 },
  );
  const seen: number[] = [];
  vm.ports.on(0x10, {
    write(_port, value): void {
      seen.push(value);
      if (seen.length === 100) vm.inject.interrupt(0x20);
    },
  });
  vm.run();
  assertEquals(seen, [...Array(100).fill(0), ...Array(100).fill(1)]);
});

Deno.test("another handler that a handler puts in its place has the next exit", () => {
  using vm = boot(GUEST, { timeout: 10_000 });
  let first = 0;
  let second = 0;
  const registration = vm.ports.on(0x10, {
    write(): void {
      if (++first < 100) return;
      registration[Symbol.dispose]();
      vm.ports.on(0x10, { write: () => void second++ });
    },
  });
  vm.run();
  assertEquals([first, second], [100, EXITS - 100]);
});

Deno.test("a handler that takes itself away leaves the next exit to nobody", () => {
  using vm = boot(GUEST, { timeout: 10_000 });
  const registration = vm.ports.on(0x10, { write: () => registration[Symbol.dispose]() });
  const error = assertThrows(() => vm.run(), UnhandledExitError);
  assertMatch(error.message, /IO out 0x10 byte 0x0/);
  assertEquals(vm.log.total, 2);
  assertEquals(vm.log.latest!.answeredBy, undefined);
});

Deno.test("an error of a handler leaves the guest at its exit, which is complete", () => {
  const { vm } = during(() => {
    throw new Error("the handler's own");
  });
  using _ = vm;
  assertThrows(() => vm.run(), Error, "the handler's own");
  assertEquals([vm.log.total, vm.isAtExit, vm.registers.cx], [100, true, EXITS - 99]);
  assertEquals(vm.registers.rip, BigInt(vm.image.symbol("behind")!));
});

Deno.test("several ports in turn, words and strings, and reads between: each goes to its own", () => {
  using vm = boot(
    asm`
      mov cx, 50
      mov dx, 0x10
    again:
      mov ax, cx
      out 0x10, al
      out 0x12, ax
      in  al, 0x14
      out 0x10, al
      push cx
      mov cx, 3
      mov si, text
      rep outsb
      pop cx
      loop again
      hlt
    text: db "abc"
    `,
    { mode: "real", timeout: 10_000, recordExits: 1000 },
  );
  const seen: string[] = [];
  vm.ports.on(0x10, { write: (port, value, size) => void seen.push(`${port} ${value} ${size}`) });
  vm.ports.on(0x12, { write: (port, value, size) => void seen.push(`${port} ${value} ${size}`) });
  vm.ports.on(0x14, { read: () => seen.length & 0xff });
  vm.run();
  const expected: string[] = [];
  for (let cx = 50; cx > 0; cx--) {
    expected.push(`16 ${cx} 1`, `18 ${cx} 2`);
    expected.push(`16 ${expected.length & 0xff} 1`, "16 97 1", "16 98 1", "16 99 1");
  }
  assertEquals(seen, expected);
});

Deno.test("a transcript of port writes in a row sees what their handler does, at once", () => {
  const { vm, seen } = during((vm) => void (vm.registers.bl = 7));
  using _ = vm;
  expect(vm).toExit([portOut(0x10, 0).times(100), portOut(0x10, 7).times(100), hlt()]);
  assertEquals(seen.length, EXITS);
  const writes = vm.log.records().slice(0, EXITS);
  assertEquals(writes.map(({ value }) => Number(value)), seen);
  assertEquals(new Set(writes.map(({ answeredBy }) => answeredBy)), new Set(["transcript"]));

  using kicked = during((vm) => void Atomics.store(vm.kick, 0, 1)).vm;
  expect(kicked).toExit([portOut(0x10).times(100), exit("INTR"), portOut(0x10).times(100), hlt()]);

  using stopped = during((vm) => vm.stop()).vm;
  assertThrows(() => expect(stopped).toExit([portOut(0x10).times(EXITS), hlt()]), AssertionError);
  assertEquals([stopped.log.total, stopped.registers.cx], [100, EXITS - 99]);
});

Deno.test("a transcript that ends, or fails, within a row of port writes ends there", () => {
  using ended = boot(GUEST, { timeout: 10_000 });
  expect(ended).toExit([portOut(0x10).times(100)]);
  assertEquals([ended.log.total, ended.registers.cx], [100, EXITS - 99]);
  assertEquals(ended.portOutput.bytes(0x10).length, 100);

  const { vm } = during((vm) => void (vm.registers.bl = 1));
  using _ = vm;
  const { message } = assertThrows(
    () => expect(vm).toExit([portOut(0x10, 0).times(EXITS)]),
    AssertionError,
  );
  assertMatch(
    message,
    /exit 101 {2}expected IO out 0x10 byte 0x0[^]*received IO out 0x10 byte 0x1/,
  );
  assertEquals(vm.log.total, 101);
});
