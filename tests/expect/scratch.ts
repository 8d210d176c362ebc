import { any, asm, boot, expect, exit, hlt, mmioRead, mmioWrite, portIn, portOut, shutdown } from "@vmexit/vmexit";

const greet = () => boot(asm`
    mov dx, 0x1000
    mov al, 'A'
    out dx, al
    in  al, dx
    mov [0x2000], al
    hlt
  `, { mode: "real", memory: "4K" });

Deno.test("wrong data out", () => {
  using vm = greet();
  expect(vm).toExit([portOut(0x1000, "B"), portIn(0x1000).returns(0xaa), hlt()]);
});
Deno.test("wrong at mmio", () => {
  using vm = greet();
  expect(vm).toExit([portOut(0x1000, "A"), portIn(0x1000).returns(0xaa), mmioWrite(0x2000, [0xab]), hlt()]);
});
Deno.test("no answer", () => {
  using vm = greet();
  expect(vm).toExit([portOut(0x1000, "A"), hlt()]);
});
Deno.test("hlt early; registers", () => {
  using vm = greet();
  expect(vm).toExit([portOut(0x1000, "A"), portIn(0x1000).returns(0xaa), mmioWrite(0x2000, [0xaa]), hlt()]);
  expect(vm).toHaveRegisters({ al: 0xab, dx: 0x1000, rflags: { zf: true, cf: false }, rsp: 4, "cs.base": 5 });
});
Deno.test("mem", () => {
  using vm = greet();
  expect(vm).toHaveMemory(0x600, "Hello World, this is a longer text, and still longer it gets to be, and more and more");
});
Deno.test("end", () => {
  using vm = greet();
  expect(vm).toBeHalted();
});
Deno.test("timeout", () => {
  using vm = boot(asm`
  again:
    jmp again
  `);
  expect(vm).toExit([hlt()]);
});
Deno.test("loop of exits", () => {
  using vm = boot(asm`
    bits 64
    mov rbx, 0x123456789abcdef0
    mov r15, -1
  .loop:
    mov al, 'x'
    mov dx, 0x3f8
    out dx, al
    inc rcx
    cmp rcx, 100
    jne .loop
    mov al, 10
    out dx, al
    hlt
  `);
  vm.run();
  expect(vm).toHaveSerial("x".repeat(99) + "\n");
});
Deno.test("shut", () => {
  using vm = boot(asm`
    lidt [zero]
    ud2
  zero: dq 0
  `);
  expect(vm).toExit([hlt()]);
});
Deno.test("run unhandled", () => {
  using vm = greet();
  vm.run();
});
Deno.test("in without answer", () => {
  using vm = greet();
  expect(vm).toExit([portOut(0x1000, "A"), portIn(0x1000), hlt()]);
});
