import { asm, boot, exit, expect, hlt, mmioRead, mmioWrite, portIn, portOut } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

Deno.test("IO: out of 1, 2 and 4 bytes, by a port in the instruction and in dx", () => {
  using vm = boot(asm`
    mov eax, 0x44434241
    out 0x10, al
    out 0x10, ax
    out 0x10, eax
    mov dx, 0xfffc
    out dx, al
    out dx, ax
    out dx, eax
    hlt
  `);
  expect(vm).toExit([
    portOut(0x10, 0x41, 1),
    portOut(0x10, 0x4241, 2),
    portOut(0x10, 0x44434241, 4),
    exit("IO", { port: 0xfffc, direction: "out", size: 1, count: 1, data: new Uint8Array([0x41]) }),
    exit("IO", { port: 0xfffc, size: 2, count: 1 }),
    exit("IO", { port: 0xfffc, size: 4, count: 1 }),
    hlt(),
  ]);
});

Deno.test("IO: in of 1, 2 and 4 bytes", () => {
  using vm = boot(asm`
    in al, 0x10
    mov bl, al
    in ax, 0x10
    mov cx, ax
    mov dx, 0x1234
    in eax, dx
    hlt
  `);
  expect(vm).toExit([
    portIn(0x10, 1).returns(0x5a),
    portIn(0x10, 2).returns(0xbeef),
    portIn(0x1234, 4).returns(0xdeadbeef),
    hlt(),
  ]);
  const { bl, cx, eax } = vm.registers;
  assertEquals([bl, cx, eax], [0x5a, 0xbeef, 0xdeadbeef]);
});

Deno.test("IO: outs of 1, 2 and 4 bytes, single and repeated", () => {
  using vm = boot(asm`
    mov dx, 0x10
    mov si, text
    outsb
    mov cx, 3
    rep outsb
    mov cx, 2
    rep outsw
    outsd
    hlt
  text: db "Xabcwordlong"
  `);
  expect(vm).toExit([
    portOut(0x10, "X", 1),
    portOut(0x10, "abc", 1),
    portOut(0x10, "word", 2),
    portOut(0x10, "long", 4),
    hlt(),
  ]);
});

Deno.test("IO: ins of 1, 2 and 4 bytes, single and repeated, up and down", () => {
  using vm = boot(asm`
    mov dx, 0x10
    mov di, 0x700
    insb
    mov cx, 3
    rep insb
    mov cx, 2
    rep insw
    insd
    std
    mov di, 0x7ff
    mov cx, 2
    rep insb
    hlt
  `);
  expect(vm).toExit([
    portIn(0x10, 1).returns("X"),
    portIn(0x10, 1).returns("abc"),
    portIn(0x10, 2).returns("word"),
    portIn(0x10, 4).returns("long"),
    portIn(0x10, 1).returns("ba"),
    hlt(),
  ]);
  expect(vm).toHaveMemory(0x700, "Xabcwordlong");
  expect(vm).toHaveMemory(0x7fe, "ab");
});

const LONG = { mode: "long", memory: "2M" } as const;

Deno.test("MMIO: writes of 1, 2, 4 and 8 bytes, and of 16 as two", () => {
  using vm = boot(
    asm`
      mov rbx, 0x10000000
      mov rax, 0x1122334455667788
      mov [rbx], al
      mov [rbx], ax
      mov [rbx], eax
      mov [rbx], rax
      movq xmm0, rax
      movups [rbx], xmm0
      hlt
    `,
    LONG,
  );
  expect(vm).toExit([
    mmioWrite(0x1000_0000, 0x88, 1),
    mmioWrite(0x1000_0000, 0x7788, 2),
    mmioWrite(0x1000_0000, 0x55667788, 4),
    mmioWrite(0x1000_0000, 0x1122334455667788n, 8),
    exit("MMIO", { gpa: 0x1000_0000, len: 8, isWrite: true }),
    exit("MMIO", { gpa: 0x1000_0008, len: 8, data: new Uint8Array(8) }),
    hlt(),
  ]);
});

Deno.test("MMIO: reads of 1, 2, 4 and 8 bytes, extended as the instruction says", () => {
  using vm = boot(
    asm`
      mov rbx, 0x10000000
      movzx eax, byte [rbx]
      movsx rcx, word [rbx]
      mov edx, [rbx]
      mov rsi, [rbx]
      hlt
    `,
    LONG,
  );
  expect(vm).toExit([
    mmioRead(0x1000_0000, 1).returns(0xfe),
    mmioRead(0x1000_0000, 2).returns(0xfffe),
    mmioRead(0x1000_0000, 4).returns(0x89abcdef),
    mmioRead(0x1000_0000, 8).returns(0x0123456789abcdefn),
    hlt(),
  ]);
  const { rax, rcx, rdx, rsi } = vm.registers;
  assertEquals([rax, rcx, rdx, rsi], [
    0xfen,
    0xffff_ffff_ffff_fffen,
    0x89abcdefn,
    0x0123456789abcdefn,
  ]);
});

Deno.test("MMIO: an access across pages is two exits, or one where a page is memory", () => {
  using vm = boot(
    asm`
      mov rbx, 0x10000ffd
      mov rax, 0x1122334455667788
      mov [rbx], rax
      mov rcx, [rbx]
      mov rbx, 0x1ffffc           ; the memory's last 4 bytes, and 4 of none
      mov [rbx], rax
      hlt
    `,
    LONG,
  );
  expect(vm).toExit([
    mmioWrite(0x1000_0ffd, [0x88, 0x77, 0x66]),
    mmioWrite(0x1000_1000, [0x55, 0x44, 0x33, 0x22, 0x11]),
    exit("MMIO", { gpa: 0x1000_0ffd, len: 3, isWrite: false }),
  ]);
  vm.answer(new Uint8Array([1, 2, 3]));
  expect(vm).toExit([exit("MMIO", { gpa: 0x1000_1000, len: 5, isWrite: false })]);
  vm.answer(new Uint8Array([4, 5, 6, 7, 8]));
  expect(vm).toExit([mmioWrite(0x20_0000, [0x44, 0x33, 0x22, 0x11]), hlt()]);
  assertEquals(vm.registers.rcx, 0x0807060504030201n);
  assertEquals(vm.memory.u32(0x1f_fffc), 0x55667788);
});

Deno.test("MMIO: a write to a read-only slot", () => {
  using vm = boot(
    asm`
      mov rbx, 0x400000
      mov al, [rbx]
      mov [rbx + 1], al
      hlt
    `,
    { ...LONG, slots: [{ gpa: 0x40_0000, size: "4K", readonly: true, content: [0x77] }] },
  );
  expect(vm).toExit([mmioWrite(0x40_0001, 0x77, 1), hlt()]);
  assertEquals(vm.memory.u8(0x40_0001), 0);
});
