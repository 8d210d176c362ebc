import { asm, boot, type Machine } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

/**
 * Code that changes while its guest lives must run as it is then. Where KVM is in an emulated machine, the emulator has translated the
 * old code, and does not see what this process writes.
 */
const PORT = 0x10;
/** Where the byte lies that `mov al, N` loads. */
const OPERAND = 1;
const ROUNDS = 40;

/** A guest that tells the number in its own code, round by round, and what it told. */
function teller(rewrite: (vm: Machine, at: number, value: number) => void): number[] {
  const source = asm`
  again:
    mov al, 1
    out ${PORT}, al
    jmp again
  `;
  using vm = boot(source, { memory: "4K" });
  const told: number[] = [];
  vm.ports.on(PORT, {
    write(_port, value) {
      told.push(Number(value));
      if (told.length === ROUNDS) return vm.stop();
      rewrite(vm, Number(vm.image.symbols.again) + OPERAND, told.length + 1);
    },
  });
  vm.run();
  return told;
}

const COUNTED = Array.from({ length: ROUNDS }, (_, index) => index + 1);

Deno.test("an instruction that a handler rewrites by memory.setU8 runs as rewritten, each time", () => {
  assertEquals(teller((vm, at, value) => vm.memory.setU8(at, value)), COUNTED);
});

Deno.test("the same by memory.write, over the whole instruction", () => {
  assertEquals(teller((vm, at, value) => vm.memory.write(at - OPERAND, [0xb0, value])), COUNTED);
});

Deno.test("the same by linear memory", () => {
  assertEquals(teller((vm, at, value) => vm.linear.setU8(at, value)), COUNTED);
});

Deno.test("the same through a view that was taken once, and one that is taken each time", () => {
  let kept: Uint8Array | undefined;
  assertEquals(
    teller((vm, at, value) => (kept ??= vm.memory.view(at, 1))[0] = value),
    COUNTED,
  );
  assertEquals(teller((vm, at, value) => vm.memory.view(at, 1)[0] = value), COUNTED);
});

Deno.test("the same through a view of all memory, and through the bytes of the slot", () => {
  let kept: Uint8Array | undefined;
  assertEquals(
    teller((vm, at, value) => (kept ??= vm.memory.view(0, 4096))[at] = value),
    COUNTED,
  );
  assertEquals(teller((vm, at, value) => vm.memory.slots[0].bytes[at] = value), COUNTED);
});

Deno.test("through a view that crosses words, pages and large pieces, where it was written and nowhere else", () => {
  const source = asm`
    bits 64
    mov al, [0x10ffff]
    mov ah, [0x110000]
    mov bl, [0x1f0003]
    out ${PORT}, al
    mov al, [0x10ffff]
    mov ah, [0x110000]
    mov bl, [0x1f0003]
    hlt
  `;
  using vm = boot(source, { memory: "2M" });
  const view = vm.memory.view(0x10_0003, 0xf_8001);
  vm.ports.on(PORT, {
    write() {
      view[0xfffc] = 0x21;
      view[0xfffd] = 0x22;
      view[0xf_0000] = 0x23;
    },
  });
  vm.run();
  assertEquals([vm.registers.ax, vm.registers.bl], [0x2221, 0x23]);
});

Deno.test("what the guest wrote itself is not taken back by a view that saw it", () => {
  const source = asm`
    mov byte [0x700], 0x11
    out ${PORT}, al
    mov al, [0x700]
    mov byte [0x700], 0x22
    out ${PORT}, al
    mov ah, [0x700]
    hlt
  `;
  using vm = boot(source, { memory: "4K" });
  const view = vm.memory.view(0x700, 1);
  const seen: number[] = [];
  vm.ports.on(PORT, { write: () => void seen.push(view[0]) });
  vm.run();
  assertEquals([seen, vm.registers.ax], [[0x11, 0x22], 0x2211]);
});

Deno.test("what a view takes back of the guest's own changes to its code is as it was", () => {
  using vm = boot(
    asm`
      mov bl, 7
    again:
      mov al, 1
      out ${PORT}, al
      test bl, bl
      jz again
      mov [again + ${OPERAND}], bl
      xor bl, bl
      jmp again
    `,
    { memory: "4K" },
  );
  const view = vm.memory.view(Number(vm.image.symbols.again) + OPERAND, 1);
  const told: number[] = [];
  vm.ports.on(PORT, {
    write(_port, value) {
      told.push(Number(value));
      if (value === 7) view[0] = 1;
      if (told.length === 3) vm.stop();
    },
  });
  vm.run();
  assertEquals(told, [1, 7, 1]);
});

Deno.test("a view that nobody holds any more was written, all the same", () => {
  using vm = boot(
    asm`
    again:
      mov al, 1
      out ${PORT}, al
      jmp again
    `,
    { memory: "4K" },
  );
  const at = Number(vm.image.symbols.again) + OPERAND;
  const told: number[] = [];
  vm.ports.on(PORT, {
    write(_port, value) {
      told.push(Number(value));
      if (told.length === 3) return vm.stop();
      (() => vm.memory.view(at, 1)[0] = told.length + 1)();
      // Garbage enough that the view is collected before the guest runs on.
      for (let count = 0; count < 200; count++) new Uint8Array(1 << 20).fill(1);
    },
  });
  vm.run();
  assertEquals(told, [1, 2, 3]);
});

Deno.test("the same through a view that was made of a view that nobody holds any more", () => {
  let derived: DataView | undefined;
  assertEquals(
    teller((vm, at, value) => {
      if (derived === undefined) {
        const { buffer, byteOffset } = vm.memory.view(at, 1);
        derived = new DataView(buffer, byteOffset, 1);
      }
      if (value % 10 === 0) {
        for (let count = 0; count < 50; count++) new Uint8Array(1 << 20).fill(1);
      }
      derived.setUint8(0, value);
    }),
    COUNTED,
  );
});

Deno.test("a page table that a handler rewrites maps what it says then", () => {
  const source = asm`
    bits 64
    mov al, [0x400000]
    out ${PORT}, al
    mov rcx, cr3
    mov cr3, rcx
    mov al, [0x400000]
    hlt
  `;
  using vm = boot(source, {
    memory: "2M",
    mappings: [{ linear: 0x40_0000, physical: 0x10_0000, size: 0x1000 }],
  });
  vm.memory.setU8(0x10_0000, 0x11);
  vm.memory.setU8(0x10_1000, 0x22);
  const walk = vm.linear.walk(0x40_0000);
  const entry = walk.levels.at(-1)!;
  vm.ports.on(PORT, {
    write: () => vm.memory.setU64(entry.gpa, entry.entry + 0x1000n),
  });
  vm.run();
  assertEquals(vm.registers.al, 0x22);
});

Deno.test("a breakpoint byte that is put and taken away: the guest runs into it, and then past it", () => {
  const HLT = 0xf4;
  using vm = boot(
    asm`
      mov cx, 3
    again:
      inc bx
      loop again
      hlt
    `,
    { memory: "4K" },
  );
  const at = Number(vm.image.symbols.again);
  const original = vm.memory.u8(at);
  const stops: unknown[] = [];
  vm.memory.setU8(at, HLT);
  for (let round = 0; round < 3; round++) {
    vm.run();
    stops.push([vm.registers.rip, vm.registers.bx]);
    vm.memory.setU8(at, original);
    vm.registers.rip = BigInt(at);
    vm.step();
    vm.memory.setU8(at, HLT);
    vm.step();
  }
  assertEquals(stops, [0, 1, 2].map((bx) => [BigInt(at) + 1n, bx]));
});

Deno.test("memory of a machine that is gone is zeros to the next, also where code lay and ran", () => {
  const first = asm`
    mov bx, 0x500
    jmp bx
    times 64 inc ax
    hlt
  `;
  for (let round = 0; round < 3; round++) {
    {
      using vm = boot(first, { memory: "64K", origin: 0x600 });
      vm.memory.write(0x500, new Uint8Array(64).fill(0x43)); // inc bx
      vm.memory.setU8(0x540, 0xf4);
      vm.run();
      assertEquals(vm.registers.bx, 0x540);
    }
    // Zeros are add [bx+si], al: it runs through them to the code behind.
    using vm = boot(asm`hlt`, { memory: "64K", origin: 0x600 });
    vm.registers.rip = 0x500n;
    vm.run();
    assertEquals([vm.registers.rip, vm.registers.bx], [0x601n, 0]);
  }
});
