import { asm, boot, type BootOptions, type Registers, type RegisterValues } from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

/** What must type-check is here because the type check of the tests fails otherwise, as it does at a needless `@ts-expect-error`. */
type NotIn<Names, Of> = Exclude<Names, keyof Of>;

Deno.test("types take what runs: gates, mappings and cpl without a mode, which the guest's bits decide", () => {
  const wide = asm`
    bits 64
    int 0x40
    hlt
  handler:
    mov al, 7
    hlt
  `;
  using gated = boot(wide, { gates: { 0x40: "handler" } });
  gated.run();
  assertEquals(gated.registers.al, 7);
  using mapped = boot(
    asm`
      bits 64
      mov al, [0x40000000]
      hlt
    `,
    { mappings: [{ linear: 0x4000_0000, physical: 0x1000, size: 0x1000 }] },
  );
  mapped.run();
  using user = boot(
    asm`
      bits 32
      mov eax, cs
      int 0x80
    `,
    { cpl: 3 },
  );
  user.run();
  assertEquals(user.registers.eax & 3, 3);
  using real = boot(
    asm`
      int 0x21
      hlt
    handler:
      mov al, 8
      hlt
    `,
    { gates: { 0x21: "handler" }, cs: 0 },
  );
  real.run();
  assertEquals(real.registers.al, 8);
});

Deno.test("types refuse what no mode has, and the run does where the guest's bits decide otherwise", () => {
  // @ts-expect-error there is no such option
  const none: BootOptions = { gate: {} };
  // @ts-expect-error real mode has no page tables
  const real: BootOptions = { mode: "real", mappings: [] };
  // @ts-expect-error there is no level 2
  const level: BootOptions = { cpl: 2 };
  for (const options of [none, real]) assertThrows(() => boot(asm`hlt`, options), TypeError);
  assertThrows(
    () => boot(asm`hlt`, { mappings: [] }),
    TypeError,
    "mode real with the option mappings",
  );
  assertThrows(() => boot(asm`hlt`, level), TypeError, "mode real with the option cpl");
});

Deno.test("registers of 64 bits are set by numbers and bigints, flag registers whole or by flags, and read as they are", () => {
  using vm = boot(asm`
    start: hlt
  `);
  const { registers } = vm;
  registers.rsi = "start";
  registers.rip = 0x1000;
  registers.rax = 5;
  registers.rbx = 5n;
  registers.rbx += 1n;
  registers.cr3 = 0x2000;
  registers.dr0 = 0x3000;
  registers.rflags = 0x202;
  registers.rflags = { cf: true, if: true };
  registers.cr0 = { mp: true };
  registers.mxcsr = 0x1f80;
  const rip: bigint = registers.rip;
  assertEquals([rip, registers.rbx, registers.cr3, registers.dr0], [0x1000n, 6n, 0x2000n, 0x3000n]);
  assertEquals(registers.rsi, 0x500n);
  assertEquals([registers.rflags.cf, registers.rflags.if, registers.cr0.mp], [true, true, true]);
  // @ts-expect-error a boolean is no value of a register
  assertThrows(() => registers.rax = true, TypeError);
  // @ts-expect-error neither is undefined
  assertThrows(() => registers.rip = undefined, TypeError);
  // @ts-expect-error there is no such flag
  assertThrows(() => registers.rflags = { zz: true }, RangeError);
  // @ts-expect-error there is no such register
  assertThrows(() => registers.raxx = 1, RangeError);
});

Deno.test("every register that can be given at boot can be read", () => {
  const missing: NotIn<keyof RegisterValues, Registers & Record<`${string}.${string}`, unknown>>[] =
    [];
  const complete: (typeof missing)[number] extends never ? true : false = true;
  assertEquals(complete, true);
});
