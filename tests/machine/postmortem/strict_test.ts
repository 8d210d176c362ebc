import {
  asm,
  AssertionError,
  boot,
  expect,
  ForgivenFaultError,
  hlt,
  portOut,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { emulatedMachineName } from "../../../lib/machine/host/emulated_machine.ts";
import { isAmd } from "../../../lib/x86/cpuid/cpuid.ts";
import { kvmLibc, type Libc } from "@vmexit/vmexit/kvm";

/** To 16-bit protected mode, where DS is a segment of so many bytes at 0x400, whose word at 0x4a is read. */
function limited(limit: number) {
  return asm`
    bits 16
    org 0x7c00
    cli
    mov word [0x44a], 80
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:entry
  entry:
    mov ax, 0x10
    mov ss, ax
    mov sp, 0x7c00
    mov ax, 0x18
    mov ds, ax
    mov bl, [0x4a]
    mov al, bl
    out 0x80, al
    hlt
  gdt:
    dq 0, 0x00009a000000ffff, 0x000092000000ffff
    dq ${0x0000_9200_0400_0000 + limit}
  gdtr:
    dw $ - gdt - 1
    dd gdt
  `;
}

/** A machine whose port 0x80 is answered. */
function machine(
  guest: ReturnType<typeof limited>,
  options: { strict?: boolean; libc?: Libc } = {},
) {
  const vm = boot(guest, { mode: "real", memory: "1M", ...options });
  vm.ports.on(0x80, { write() {} });
  return vm;
}

Deno.test("a run that exceeds a segment's limit is an error where the emulator lets it through", () => {
  using vm = machine(limited(0x0f));
  const error = assertThrows(() => vm.run(), ForgivenFaultError);
  assertStringIncludes(error.message, "The guest's run ends well on this KVM alone");
  assertStringIncludes(error.message, "#GP(0)");
  assertStringIncludes(error.message, "mov bl, [0x4a]");
  assertMatch(error.message, /has base 0x400,\s+limit 0x0f; offset 0x4a lies outside/);
  assertStringIncludes(error.stack!, "strict_test.ts");
});

Deno.test("a transcript of it fails likewise", () => {
  using vm = boot(limited(0x0f), { mode: "real", memory: "1M" });
  const error = assertThrows(() => expect(vm).toExit([portOut(0x80, 80), hlt()]), Error);
  assert(error instanceof AssertionError || error instanceof ForgivenFaultError);
  assertStringIncludes(error.message, "offset 0x4a lies outside");
});

Deno.test("it may be allowed", () => {
  using vm = machine(limited(0x0f), { strict: false });
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("a segment that is long enough is none, and is looked at by a repeated run", () => {
  using vm = machine(limited(0xff));
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("a null segment that is used is one", () => {
  using vm = boot(
    asm`
    bits 32
    xor eax, eax
    mov ds, ax
    mov eax, [0x9000]
    hlt
  `,
    { memory: "1M" },
  );
  const error = assertThrows(() => vm.run(), ForgivenFaultError);
  assertStringIncludes(error.message, "holds no segment (null)");
});

Deno.test("a guest whose segments reach everywhere is not run once more", () => {
  let machines = 0;
  const real = kvmLibc();
  const libc = (): Libc => ({
    ...real,
    ioctl(fd, request, argument) {
      // KVM_CREATE_VM
      if (request === 0xae01) machines++;
      return real.ioctl(fd, request, argument);
    },
  });
  {
    using vm = boot(
      asm`
      bits 32
      mov eax, [0x9000]
      hlt
    `,
      { memory: "1M", libc: libc() },
    );
    vm.run();
  }
  assertEquals(machines, 1);
});

/** Guests of which QEMU lets through what the manuals do not; `sign` says that the end of the run tells, without `strict: true`. */
const FORGIVEN: readonly [
  what: string,
  guest: Parameters<typeof boot>[0],
  says: string,
  sign: "sign" | "no sign",
][] = [
  [
    "an offset beyond 64 KiB in real mode",
    asm`
      mov ebx, 0x12345
      mov al, [ebx]
      hlt
    `,
    "limit 0xffff; offset 0x12345 lies outside",
    "sign",
  ],
  [
    "a word at 0xffff in real mode",
    asm`
      mov ax, [0xffff]
      hlt
    `,
    "offsets 0xffff to 0x10000 lie outside",
    "no sign",
  ],
  [
    "a push with SP = 1",
    asm`
      mov sp, 1
      push ax
      hlt
    `,
    "#SS",
    "no sign",
  ],
  [
    "code beyond the limit of CS",
    asm`
      bits 32
      lgdt [gdtr]
      jmp 8:next
    next:
      jmp beyond
    gdt: dq 0, 0x00419a0000000100, 0x00cf92000000ffff
    gdtr: dw 23
      dd gdt
      times 0x100 nop
    beyond: hlt
    `,
    "lies beyond the limit of CS",
    "sign",
  ],
  [
    "code with L = 1 and D = 1",
    asm`
      bits 64
      lgdt [gdtr]
      push 8
      lea rax, [rel next]
      push rax
      retfq
    next: hlt
    gdt: dq 0, 0x00ef9a000000ffff, 0x00cf92000000ffff
    gdtr: dw 23
      dq gdt
    `,
    "L = 1 and D = 1 are not allowed together",
    "sign",
  ],
  [
    "a descriptor table at an address that is not canonical",
    asm`
      bits 64
      lidt [idtr]
      hlt
    idtr: dw 0xfff
      dq 0x1234567800000000
    `,
    "0x1234567800000000, is not canonical",
    "sign",
  ],
  [
    "FS.base by WRMSR",
    asm`
      bits 64
      mov ecx, 0xc0000100
      mov edx, 0x12345678
      wrmsr
      hlt
    `,
    "MSR 0xc0000100 FS_BASE, 0x1234567800000000, is not canonical",
    "sign",
  ],
  [
    "LSTAR, where SYSCALL is on",
    asm`
      bits 64
      mov ecx, 0xc0000080
      rdmsr
      or al, 1
      wrmsr
      mov ecx, 0xc0000082
      mov edx, 0x12345678
      wrmsr
      hlt
    `,
    "LSTAR, 0x12345678",
    "sign",
  ],
  [
    "GS.base by WRGSBASE",
    asm`
      bits 64
      mov rax, cr4
      bts rax, 16
      mov cr4, rax
      mov rax, 0x1234567800000000
      wrgsbase rax
      hlt
    `,
    "the base of GS, 0x1234567800000000, is not canonical",
    "sign",
  ],
  [
    "reserved bits of MXCSR",
    asm`
      bits 64
      mov rax, cr4
      or ax, 0x600
      mov cr4, rax
      mov dword [0x9000], 0xffff0000
      ldmxcsr [0x9000]
      hlt
    `,
    "MXCSR = 0xffff0000: bits 31:16 are reserved",
    "no sign",
  ],
  [
    "LOCK before a mov",
    asm`
      bits 64
      db 0xf0
      mov [0x9000], rax
      hlt
    `,
    "LOCK may stand before instructions that read and write memory only",
    "no sign",
  ],
];

/** What the error says of a run, in one line. */
function forgiven(run: () => unknown): string {
  return assertThrows(run, ForgivenFaultError).message.replaceAll(/\s+/g, " ");
}

for (const [what, guest, says, sign] of FORGIVEN) {
  Deno.test(`strict: ${what}`, () => {
    const run = (strict?: boolean) => {
      using vm = boot(guest, { memory: "2M", ...strict === undefined ? {} : { strict } });
      return vm.run().reason;
    };
    for (const strict of [undefined, true]) {
      if (strict === undefined && sign === "no sign") assertEquals(run(), "HLT");
      else assertStringIncludes(forgiven(() => run(strict)), says);
    }
    assertEquals(run(false), "HLT");
  });
}

Deno.test("strict: an access that RFLAGS.AC forbids at CPL 3", () => {
  const run = (align: number) => {
    using vm = boot(
      asm`
      bits 64
      pushfq
      or dword [rsp], 0x40000
      popfq
      mov eax, [rbx]
      out 0x80, al
    `,
      { mode: "long", memory: "2M", cpl: 3, registers: { rbx: 0x9000 + align, cr0: { am: true } } },
    );
    vm.ports.on(0x80, { write: () => vm.stop() });
    vm.run();
  };
  run(4);
  assertStringIncludes(
    forgiven(() => run(1)),
    "0x9001 is not a multiple of 4, while CR0.AM and RFLAGS.AC are set at CPL 3",
  );
});

Deno.test("strict: what the emulator does raise is none, whatever its handler makes of it", () => {
  using vm = boot(
    asm`
    bits 64
      lock add rax, rax
      hlt
    handler:
      add qword [rsp], 4
      iretq
  `,
    { memory: "2M", gates: { 6: "handler" }, strict: true },
  );
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("strict: real-mode code whose segments reach everywhere, and text with a g, are none", () => {
  using vm = boot(
    asm`
    mov ebx, 0x12345
    mov al, [ebx]
    hlt
    db "a greeting to be printed: gg"
  `,
    { mode: "unreal", memory: "2M", strict: true },
  );
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("SYSRET sets SS.RPL on Intel's processors, and on QEMU's AMD, where hardware leaves it", () => {
  using vm = boot(
    asm`
    bits 64
      mov ecx, 0xc0000080
      rdmsr
      or al, 1
      wrmsr
      mov ecx, 0xc0000081
      mov edx, 0x00100000
      wrmsr
      lea rcx, [rel user]
      mov r11d, 0x3002
      o64 sysret
    user:
      out 0x80, al
  `,
    {
      memory: "2M",
      mappings: [{ linear: 0x10000, size: 0x1000, user: true }],
      ports: { 0x80: { write: () => vm.stop() } },
    },
  );
  vm.run();
  // STAR's base is 0x10: SS is that and 8.
  assertEquals(
    vm.registers.ss.selector,
    emulatedMachineName() === undefined && isAmd(vm.cpuid.entries) ? 0x18 : 0x1b,
  );
});
