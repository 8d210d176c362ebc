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
