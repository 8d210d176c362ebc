import { asm, boot, type Machine, type RegisterValues } from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";

const halted = (): Machine =>
  boot(asm`bits 64
  hlt`);

Deno.test("a general register is read by every name it has, between runs", () => {
  using vm = boot(asm`
    bits 64
    mov rax, 0x1122334455667788
    mov r8, 0xffeeddccbbaa9988
    mov rsi, 0x0102030405060708
    hlt
  `);
  vm.run();
  const { rax, eax, ax, al, ah, r8, r8d, r8w, r8b, sil, si } = vm.registers;
  assertEquals(
    [rax, eax, ax, al, ah],
    [0x1122334455667788n, 0x55667788, 0x7788, 0x88, 0x77] as (bigint | number)[],
  );
  assertEquals([r8, r8d, r8w, r8b], [0xffeeddccbbaa9988n, 0xbbaa9988, 0x9988, 0x88] as unknown[]);
  assertEquals([sil, si], [0x08, 0x0708]);
});

Deno.test("a register that is written between runs is what the guest finds", () => {
  using vm = boot(asm`
    bits 64
  again:
    mov [0x8000], rax
    mov [0x8008], r15
    mov [0x8010], rbp
    hlt
    jmp again
  `);
  vm.registers.rax = 0x1111_1111_1111_1111n;
  vm.registers.ah = 0x22;
  vm.registers.r15 = 2n ** 64n - 1n;
  vm.registers.r15b = 0;
  vm.registers.rbp = 2n ** 64n - 1n;
  vm.registers.ebp = 5;
  vm.run();
  assertEquals(vm.memory.u64(0x8000), 0x1111_1111_1111_2211n);
  assertEquals(vm.memory.u64(0x8008), 0xffff_ffff_ffff_ff00n);
  assertEquals(vm.memory.u64(0x8010), 5n);
  vm.registers.set({ rax: 3n, "r15": 4, bpl: 6 });
  vm.run();
  assertEquals([0x8000, 0x8008, 0x8010].map((at) => vm.memory.u64(at)), [3n, 4n, 6n]);
});

Deno.test("flags are properties, read and written one by one", () => {
  using vm = boot(asm`
    bits 64
    xor eax, eax
    hlt
    setc bl
    hlt
  `);
  vm.run();
  const { rflags } = vm.registers;
  assertEquals([rflags.zf, rflags.cf, rflags.iopl], [true, false, 0]);
  assert(rflags.value === BigInt(vm.registers.eflags));
  rflags.cf = true;
  rflags.iopl = 3;
  vm.run();
  assertEquals([vm.registers.bl, rflags.cf, rflags.iopl], [1, true, 3]);
  vm.registers.set({ "rflags.cf": false, rflags: { iopl: 0 } });
  assertEquals(rflags.iopl, 0);
  rflags.value = 0x202n;
  assertEquals([rflags.if, vm.registers.flags], [true, 0x202]);
});

Deno.test("control registers, segments and tables are there by their members' names", () => {
  using vm = halted();
  const { cr0, cr3, cr4, efer, cs, ds, tr, gdt, idt } = vm.registers;
  assertEquals([cr0.pe, cr0.pg, cr4.pae, efer.lma], [true, true, true, true]);
  assertEquals(cr3, 0x1000n);
  assertEquals([cs.base, cs.selector, cs.l, cs.dpl], [0n, 8, 1, 0] as unknown[]);
  assertEquals([ds.selector, tr.selector], [0x10, 0x18]);
  assertEquals(
    [gdt.base, gdt.limit, idt.base, idt.limit],
    [0x5000n, 39, 0x6000n, 4095] as unknown[],
  );
});

Deno.test("members of control registers, segments and tables can be written", () => {
  using vm = boot(asm`
    bits 64
    mov rax, cr4
    sgdt [0x8000]
    mov bl, [gs:0]
    hlt
  `);
  const { cr4, gdt, gs } = vm.registers;
  cr4.pge = true;
  gdt.limit = 23;
  gs.base = 0x9000n;
  vm.registers.cr2 = 0x1234_5678_9abcn;
  vm.memory.setU8(0x9000, 0x77);
  vm.run();
  assertEquals([vm.registers.rax >> 7n & 1n, cr4.pge], [1n, true] as unknown[]);
  assertEquals([vm.memory.u16(0x8000), vm.memory.u64(0x8002)], [23, 0x5000n] as unknown[]);
  assertEquals([vm.registers.bl, vm.registers.cr2], [0x77, 0x1234_5678_9abcn] as unknown[]);
});

Deno.test("get takes any path, and gives flag registers and segments whole", () => {
  using vm = halted();
  const { registers } = vm;
  assertEquals(
    ["rip", "al", "rflags", "rflags.zf", "cs", "cs.base", "cr0", "cr0.pe", "gdt.limit", "cr3"]
      .map((path) => registers.get(path)),
    [0x10000n, 0, 2n, false, 8, 0n, 0x80010031n, true, 39, 0x1000n] as unknown[],
  );
});

Deno.test("a register that does not exist is an error that names the nearest", () => {
  using vm = halted();
  const registers = vm.registers as unknown as Record<string, Record<string, unknown>>;
  assertThrows(() => registers.rax2, RangeError, 'Cannot find a register "rax2"');
  assertThrows(() => registers.rxa, RangeError, "rax");
  assertThrows(
    () => registers.cs.bass,
    RangeError,
    '"cs.bass": there is none of that name; the nearest are base',
  );
  assertThrows(() => registers.rflags.zero, RangeError, '"rflags.zero"');
  assertThrows(() => registers.foo = {}, RangeError, '"foo"');
  assertThrows(() => registers.cs.bass = 1, RangeError, '"cs.bass"');
  assertThrows(() => registers.rflags.zero = true, RangeError, '"rflags.zero"');
  for (
    const path of ["rax2", "cs.bass", "rflags.zero", "rax.al", "get", "cs.base.x", "", "toString"]
  ) {
    assertThrows(() => vm.registers.get(path), RangeError, "Cannot find a register", path);
    const values = { [path]: 1 } as RegisterValues;
    assertThrows(() => vm.registers.set(values), RangeError, "Cannot find a register", path);
  }
  assertThrows(() => vm.registers.set({ cs: { bass: 1 } as never }), RangeError, '"cs.bass"');
  assertThrows(() => vm.registers.set({ rflags: { zero: true } as never }), RangeError, "zero");
});

Deno.test("a value that does not fit its register is refused", () => {
  using vm = halted();
  const { registers } = vm;
  const wrong: RegisterValues[] = [
    { al: 0x100 },
    { ax: 0x10000 },
    { eax: 2 ** 32 },
    { rax: 2n ** 64n },
    { rax: -1n },
    { al: -1 },
    { al: 0.5 },
    { rax: 2 ** 53 },
    { cr3: 2n ** 64n },
    { cr3: 0.5 },
    { rflags: -1n },
    { "rflags.iopl": 4 },
    { rflags: { zf: 2 as never } },
    { "cs.selector": 0x10000 },
    { cs: 0x10000 },
    { cs: { dpl: 256 } },
    { gdt: { limit: 0x10000 } },
    { gdt: { base: 2n ** 64n } },
  ];
  for (const values of wrong) {
    assertThrows(() => registers.set(values), RangeError, "Cannot", Object.keys(values)[0]);
  }
  assertThrows(() => registers.ah = 256, RangeError, "Cannot set ah as 0x100");
  assertThrows(() => registers.cr8 = -1n, RangeError, "Cannot set cr8");
  assertThrows(() => registers.cs.limit = 2 ** 32, RangeError);
  for (const value of [true, null, undefined, {}]) {
    assertThrows(() => registers.cr3 = value as never, Error, "Cannot set cr3");
    assertThrows(() => registers.rax = value as never, Error, "Cannot set rax");
  }
  for (const values of [{ cr3: "1" }, { rax: "1" }, { al: "1" }]) {
    assertThrows(() => registers.set(values), RangeError, "Cannot find the symbol 1");
  }
});

Deno.test("set is all or nothing", () => {
  using vm = halted();
  vm.registers.rbx = 5n;
  const before = ["rbx", "cs", "cr4", "rflags"].map((name) => vm.registers.get(name));
  assertThrows(
    () => vm.registers.set({ rbx: 1n, "cs.base": 0x1000n, cr4: { pge: true }, al: 0x100 }),
    RangeError,
  );
  assertEquals(["rbx", "cs", "cr4", "rflags"].map((name) => vm.registers.get(name)), before);
  assertEquals(vm.registers.cs.base, 0n);
  vm.run();
  assertEquals(vm.registers.rbx, 5n);
});

Deno.test("registers can be set at boot, over what the mode sets", () => {
  using vm = boot(
    asm`
      bits 64
      hlt
    `,
    { registers: { rsp: 0x8000n, al: 7, "rflags.cf": true } },
  );
  assertEquals(vm.bootRegisters.rsp, 0x8000n);
  vm.run();
  assertEquals(
    [vm.registers.rsp, vm.registers.al, vm.registers.rflags.cf],
    [0x8000n, 7, true] as unknown[],
  );
  assertEquals(vm.bootRegisters.rip + 1n, vm.registers.rip);
});

Deno.test("a selector that is assigned in real mode brings its base along, as a load does", () => {
  using vm = boot(
    asm`
      mov al, [0]
      mov bl, [es:0]
      hlt
    `,
    { registers: { ds: 0x1000 } },
  );
  vm.memory.setU8(0x10000, 0xd5);
  vm.memory.setU8(0x20000, 0xe5);
  vm.registers.set({ es: 0x2000 });
  assertEquals([vm.registers.ds.base, vm.registers.es.base], [0x10000n, 0x20000n]);
  assertEquals(vm.registers.get("es"), 0x2000);
  vm.run();
  assertEquals([vm.registers.al, vm.registers.bl], [0xd5, 0xe5]);
});

Deno.test("a selector alone can still be set, and outside real mode a number is no more than that", () => {
  using real = boot(asm`hlt`);
  real.registers.set({ "fs.selector": 0x3000, gs: { selector: 0x4000 } });
  assertEquals([real.registers.fs.base, real.registers.gs.base], [0n, 0n]);
  real.registers.fs.base = 0x55n;
  assertEquals(real.registers.fs.selector, 0x3000);
  real.registers.set({ tr: 0x10, ldt: 0x20 });
  assertEquals(real.registers.tr.base, 0n);

  using long = halted();
  long.registers.set({ ds: 0x18 });
  assertEquals([long.registers.ds.selector, long.registers.ds.base], [0x18, 0n] as unknown[]);
});

Deno.test("registers that KVM refuses are an error at the run, with its name", () => {
  using vm = halted();
  // Long mode is active in EFER and paging is off: no CPU can be in that state.
  vm.registers.cr0.pg = false;
  const error = assertThrows(() => vm.run(), Error, "KVM_SET_SREGS failed with EINVAL");
  assert(error.message.includes("CR0.PG, CR4.PAE and EFER.LMA must agree"));
  vm.registers.cr0.pg = true;
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("registers print and compare without a trap", () => {
  using vm = halted();
  assert(Deno.inspect(vm.registers).length > 0);
  assert(Deno.inspect(vm.registers.cs).includes("selector"));
  assert(vm.registers.rflags.valueOf() === 2n);
});

Deno.test("registers are not copied by spreading, where two copies without any would be equal", () => {
  using vm = halted();
  assertThrows(() => ({ ...vm.registers }), TypeError, "Cannot copy the registers: ");
  assertEquals({ ...vm.registers.cs }.selector, vm.registers.cs.selector);
});
