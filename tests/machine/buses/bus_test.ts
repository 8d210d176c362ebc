import { asm, boot } from "@vmexit/vmexit";
import { HandlerTable } from "../../../lib/machine/buses/bus.ts";
import type { PortHandler } from "../../../lib/devices/handlers.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

type Access = readonly [address: number, value: number | bigint, size: number];

const halted = () => boot(asm`hlt`);

Deno.test("a port handler gets the port, the value and the size of each access", () => {
  using vm = boot(asm`
    mov dx, 0x1000
    mov eax, 0x12345678
    out dx, al
    inc dx
    out dx, ax
    inc dx
    out dx, eax
    hlt
  `);
  const written: Access[] = [];
  vm.ports.on([0x1000, 0x1002], { write: (...access) => void written.push(access) });
  vm.run();
  assertEquals(written, [[0x1000, 0x78, 1], [0x1001, 0x5678, 2], [0x1002, 0x12345678, 4]]);
  assertEquals(vm.portOutput.bytes(0x1002), new Uint8Array([0x78, 0x56, 0x34, 0x12]));
});

Deno.test("a port handler's answer reaches the register, of each size, and only as wide as the access", () => {
  using vm = boot(
    asm`
      mov dx, 0x1000
      in  eax, dx
      mov ebx, eax
      in  ax, dx
      mov ecx, eax
      in  al, dx
      hlt
    `,
    { registers: { eax: 0 } },
  );
  const answers: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xeeee, 4: 0xffff_ffff };
  vm.ports.on(0x1000, { read: (_port, size) => answers[size] });
  vm.run();
  const { ebx, ecx, eax } = vm.registers;
  assertEquals([ebx, ecx, eax], [0xffff_ffff, 0xffff_eeee, 0xffff_eeff]);
});

Deno.test("a string instruction calls the handler for each element, however many an exit has", () => {
  using vm = boot(asm`
    mov dx, 0x1000
    mov si, words
    mov cx, 3
    rep outsw
    mov di, 0x700
    mov cx, 4
    rep insb
    hlt
  words: dw 0x0102, 0x0304, 0x0506
  `);
  const written: number[] = [];
  let next = 0x10;
  vm.ports.on(0x1000, { write: (_port, value) => void written.push(value), read: () => next++ });
  vm.run();
  assertEquals(written, [0x0102, 0x0304, 0x0506]);
  assertEquals(vm.memory.read(0x700, 4), new Uint8Array([0x10, 0x11, 0x12, 0x13]));
  assertEquals(vm.portOutput.bytes(0x1000), new Uint8Array([2, 1, 4, 3, 6, 5]));
  const records = vm.log.records();
  const [out] = records;
  assertEquals([out.isWrite, out.size, out.value], [true, 2, 0x0102n]);
  // KVM reads ahead: it asks for all elements of an insb at once.
  const input = records.find(({ isWrite, size }) => !isWrite && size === 1)!;
  assertEquals([input.count, input.value], [4, 0x10n]);
});

Deno.test("a string read longer than KVM reads ahead arrives whole, run through or stopped at each exit", () => {
  for (const stops of [false, true]) {
    using vm = boot(asm`
      mov dx, 0x1001
      mov di, 0x4000
      mov cx, 3000
      rep insb
      hlt
    `);
    let next = 0;
    vm.ports.on(0x1001, {
      read() {
        if (stops) vm.stop();
        return next++ % 251;
      },
    });
    let ends = 0;
    while (vm.run().reason === "IO") ends++;
    assertEquals(next, 3000);
    assertEquals(ends > 1, stops);
    assertEquals(
      vm.memory.read(0x4000, 3000),
      Uint8Array.from({ length: 3000 }, (_, index) => index % 251),
    );
    assertEquals(vm.registers.cx, 0);
  }
});

Deno.test("stop in the middle of a string write loses none of its elements", () => {
  using vm = boot(asm`
    mov dx, 0x1000
    mov si, message
    mov cx, 5
    rep outsb
    hlt
  message: db "hello"
  `);
  vm.ports.on(0x1000, { write: () => vm.stop() });
  while (vm.run().reason === "IO");
  assertEquals(vm.portOutput.bytes(0x1000), new TextEncoder().encode("hello"));
  assertEquals([vm.registers.cx, vm.log.latest?.number], [0, vm.log.total]);
});

Deno.test("an MMIO handler gets address, value and size, up to 8 bytes as a bigint", () => {
  using vm = boot(asm`
    bits 64
    mov rbx, 0x200000
    mov rax, 0x1122334455667788
    mov [rbx], al
    mov [rbx + 8], ax
    mov [rbx + 16], eax
    mov [rbx + 24], rax
    mov cl, [rbx]
    mov dx, [rbx + 8]
    mov esi, [rbx + 16]
    mov rdi, [rbx + 24]
    hlt
  `);
  const written: Access[] = [];
  vm.mmio.on([0x200000, 0x200fff], {
    write: (...access) => void written.push(access),
    read: (address, size) => size === 8 ? 0xf1f2_f3f4_f5f6_f7f8n : address % 0x100,
  });
  vm.run();
  assertEquals(written, [
    [0x200000, 0x88, 1],
    [0x200008, 0x7788, 2],
    [0x200010, 0x55667788, 4],
    [0x200018, 0x1122334455667788n, 8],
  ]);
  const { cl, dx, esi, rdi } = vm.registers;
  assertEquals([cl, dx, esi, rdi], [0, 8, 0x10, 0xf1f2_f3f4_f5f6_f7f8n]);
});

Deno.test("an 8-byte read may be answered with a number", () => {
  using vm = boot(asm`
    bits 64
    mov rax, [0x200000]
    mov rbx, [0x200008]
    hlt
  `);
  vm.mmio.on([0x200000, 0x20000f], {
    read: (address) => address === 0x200000 ? 7 : Number.MAX_SAFE_INTEGER,
  });
  vm.run();
  assertEquals([vm.registers.rax, vm.registers.rbx], [7n, 2n ** 53n - 1n]);
});

Deno.test("an access across a page arrives in parts, each as wide as it is", () => {
  using vm = boot(asm`
    bits 64
    mov rax, 0x1122334455667788
    mov [0x200ffd], rax
    mov rbx, [0x200ffd]
    hlt
  `);
  const written: Access[] = [];
  const asked: [number, number][] = [];
  vm.mmio.on([0x200000, 0x201fff], {
    write: (...access) => void written.push(access),
    read(address, size) {
      asked.push([address, size]);
      return size === 3 ? 0x030201 : 0x08_07060504n;
    },
  });
  vm.run();
  assertEquals(written, [[0x200ffd, 0x667788, 3], [0x201000, 0x1122334455n, 5]]);
  assertEquals(asked, [[0x200ffd, 3], [0x201000, 5]]);
  assertEquals(vm.registers.rbx, 0x0807060504030201n);
});

Deno.test("stop between the parts of an access loses neither", () => {
  using vm = boot(asm`
    bits 64
    mov rax, 0x1122334455667788
    mov [0x200ffd], rax
    mov rbx, [0x200ffd]
    hlt
  `);
  const seen: string[] = [];
  vm.mmio.on([0x200000, 0x201fff], {
    write(address, value) {
      seen.push(`${address.toString(16)} = ${value.toString(16)}`);
      vm.stop();
    },
    read(address, size) {
      seen.push(`${address.toString(16)} ?`);
      vm.stop();
      return size === 3 ? 0x030201 : 0x08_07060504n;
    },
  });
  while (vm.run().reason === "MMIO");
  assertEquals(seen, ["200ffd = 667788", "201000 = 1122334455", "200ffd ?", "201000 ?"]);
  assertEquals(vm.registers.rbx, 0x0807060504030201n);
  assertEquals(vm.log.total, 5);
});

Deno.test("the part of an access that lies in memory is memory's", () => {
  using vm = boot(
    asm`
      bits 64
      mov dword [0x8ffe], 0x44332211
      hlt
    `,
    { memory: "36K", stack: 0x1000, origin: 0x6000, gdt: false, idt: false, tss: false },
  );
  const written: Access[] = [];
  vm.mmio.on(0x9000, { write: (...access) => void written.push(access) });
  vm.run();
  assertEquals(written, [[0x9000, 0x4433, 2]]);
  assertEquals(vm.memory.u16(0x8ffe), 0x2211);
});

Deno.test("a port answer that is too wide or no whole number is refused, and the read waits for another", () => {
  using vm = boot(asm`
    in  al, 0x42
    hlt
  `);
  let answer: number = 0x100;
  vm.ports.on(0x42, { name: "keyboard", read: () => answer });
  const message =
    "1 byte at port 0x42 as 0x100: what keyboard returned is not a whole number of 8 bits";
  assertThrows(() => vm.run(), RangeError, message);
  for (const bad of [-1, 0.5, NaN, 1n, undefined, "1"]) {
    answer = bad as number;
    assertThrows(() => vm.run(), RangeError, "what keyboard returned");
  }
  answer = 0xff;
  assertEquals([vm.run().reason, vm.registers.al], ["HLT", 0xff]);
});

Deno.test("an MMIO answer that is too wide is refused at every width, and the read waits for another", () => {
  using vm = boot(asm`
    bits 64
    mov al, [0x200000]
    mov ax, [0x200000]
    mov eax, [0x200000]
    mov rax, [0x200ffd]
    mov rax, [0x200000]
    hlt
  `);
  const widths = [1, 2, 4, 3, 5, 8];
  const refused: number[] = [];
  let excess = false;
  vm.mmio.on([0x200000, 0x201fff], {
    read(_address, size) {
      excess = !excess;
      if (!excess) return 0;
      refused.push(size);
      // The limit of 5 bytes is exact as a number too, so numbers have to be measured at every width.
      return size % 2 === 1 ? 2 ** (8 * size) : 2n ** BigInt(8 * size);
    },
  });
  for (const width of widths) {
    assertThrows(() => vm.run(), RangeError, `is not a whole number of ${8 * width} bits`);
  }
  assertEquals(vm.run().reason, "HLT");
  assertEquals(refused, widths);
});

Deno.test("two handlers on one port are refused, naming who has it", () => {
  using vm = halted();
  const read = () => 0;
  vm.ports.on([0x60, 0x64], { name: "keyboard", read });
  const message = "Cannot handle ports 0x64 to 0x70: keyboard has 0x60 to 0x64 already";
  assertThrows(() => vm.ports.on([0x64, 0x70], { read }), RangeError, message);
  assertThrows(() => vm.ports.on(0x3f8, { read }), RangeError, "COM1 has 0x3f8 to 0x3ff already");
  vm.mmio.on(0x1000_0000, { read });
  assertThrows(
    () => vm.mmio.on(0x1000_0000, { read }),
    RangeError,
    "another handler has 0x10000000",
  );
});

Deno.test("ranges that are none are refused", () => {
  using vm = halted();
  for (const range of [-1, 0x10000, 1.5, NaN, [5, 4], [0, 0x10000]] as const) {
    assertThrows(() => vm.ports.on(range, {}), RangeError, "they are not a range from 0 to 0xffff");
  }
  assertThrows(() => vm.mmio.on(-1, {}), RangeError, "Cannot handle physical addresses -1");
  assertThrows(() => vm.mmio.on(2 ** 52, {}), RangeError, "from 0 to 0xfffffffffffff");
});

Deno.test("a disposed handler is asked no more, and its range is free", () => {
  using vm = boot(asm`
    in  al, 0x42
    in  al, 0x42
    in  al, 0x42
    hlt
  `);
  const first = vm.ports.on(0x42, { read: () => (first[Symbol.dispose](), swap(), 1) });
  const answers: number[] = [];
  const swap = () => vm.ports.on(0x42, { read: () => (answers.push(2), 2) });
  vm.run();
  assertEquals([answers, vm.registers.al], [[2, 2], 2]);
  first[Symbol.dispose]();
  assertThrows(() => vm.ports.on(0x42, { read: () => 0 }), RangeError, "already");
});

Deno.test("a handler that can only read or only write answers nothing else", () => {
  using vm = boot(asm`
    in  al, 0x42
    out 0x42, al
    hlt
  `);
  vm.ports.on(0x42, { read: () => 1 });
  assertThrows(() => vm.run(), Error, "Nothing answers exit 2: IO out 0x42 byte 0x1");
});

Deno.test("the lookup finds the handler whose range holds the address, and none elsewhere", () => {
  const span = fc.tuple(fc.nat(200), fc.nat(8));
  fc.assert(
    fc.property(fc.array(span, { maxLength: 12 }), fc.array(fc.nat(220)), (spans, asked) => {
      const table = new HandlerTable<PortHandler>("port", 0xffff);
      const owners = new Map<number, PortHandler>();
      const handles: [Disposable, PortHandler][] = [];
      for (const [first, length] of spans) {
        const addresses = Array.from({ length: length + 1 }, (_, index) => first + index);
        const handler: PortHandler = { read: () => 0 };
        const isFree = addresses.every((address) => !owners.has(address));
        if (!isFree) {
          assertThrows(() => table.on([first, first + length], handler), RangeError);
          continue;
        }
        handles.push([table.on([first, first + length], handler), handler]);
        for (const address of addresses) owners.set(address, handler);
      }
      const check = () =>
        asked.forEach((address) => assert(table.find(address) === owners.get(address)));
      check();
      for (const [handle, handler] of handles.slice(0, 3)) {
        handle[Symbol.dispose]();
        for (const [address, owner] of owners) if (owner === handler) owners.delete(address);
        check();
      }
    }),
  );
});
