import {
  asm,
  boot,
  type BootOptions,
  expect,
  type Guest,
  hlt,
  type Machine,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { assertMatch, assertStringIncludes, assertThrows } from "@std/assert";

const STEPS = { singleStep: true } as const;

/** The page of a run that does not end as it should, without its line breaks. */
function page(
  guest: Guest,
  options: BootOptions = {},
  run: (vm: Machine) => unknown = (vm) => vm.run(),
) {
  using vm = boot(guest, options);
  return assertThrows(() => run(vm), Error).message.replaceAll(/\s+/g, " ");
}

/** How a guest came to 0x20000, where the test has written code, and what is told of it. */
const WAYS = [
  {
    name: "a return",
    guest: asm`
      bits 32
      mov dword [0x20000], 0x80e6
      push dword 0x20000
      ret
    `,
    told:
      /by `ret` at 0x1000f, left_code_test\.ts:\d+, to 0x20000, where the guest has no code The return took its address from the stack at 0xfffc; it was written by `push dword 0x20000` at 0x1000a/,
  },
  {
    name: "a jump by a register",
    guest: asm`
      bits 32
      mov dword [0x20000], 0x80e6
      mov ebx, 0x20000
      nop
      jmp ebx
    `,
    told:
      /by `jmp ebx` at 0x10010, .* RBX \(0x20000\) was last written by `mov ebx,0x20000` at 0x1000a/,
  },
  {
    name: "a call by a pointer in memory that the guest has written",
    guest: asm`
      bits 32
      mov dword [0x20000], 0x80e6
      mov dword [0x9000], 0x20000
      call [0x9000]
      hlt
    `,
    told:
      /by `call \[dword 0x9000\]` at .* took its target from 0x9000; it was written by `mov dword \[dword 0x9000\],0x20000` at 0x1000a/,
  },
  {
    name: "a return whose stack pointer is wrong",
    guest: asm`
      bits 32
      mov dword [0x20000], 0x80e6
      mov esp, stack
      ret
    stack: dd 0x20000
    `,
    told:
      /by `ret` .* no instruction that is known wrote it: the stack pointer is not where a call left it/,
  },
] as const;

for (const { name, guest, told } of WAYS) {
  Deno.test(requires(STEPS, `a guest that has left its code is told by what: ${name}`), () => {
    const message = page(guest);
    assertMatch(message, /^Nothing answers exit 1: IO out 0x80/);
    assertMatch(message, told);
    // What may have been is not told where it is known.
    assertMatch(message, /outside of the guest's image, which lies at \S+ → 0x20000/);
  });
}

Deno.test(requires(STEPS, "one that the time limit has stopped there is told, too"), () => {
  const loop = page(
    asm`
      bits 32
      mov dword [0x20000], 0xfeeb
      mov eax, 0x20000
      jmp eax
    `,
    { timeout: 20 },
  );
  assertStringIncludes(loop, "The guest did not end within");
  assertMatch(loop, /by `jmp eax` at 0x1000f, .* to 0x20000, .* RAX \(0x20000\) was last written/);
  const behindExits = page(
    asm`
      bits 32
      out 0x80, al
      mov dword [0x20000], 0xfce2f943   ; inc ebx, stc, loop
      out 0x80, al
      push dword 0x20000
      ret
    `,
    { timeout: 20, ports: { 0x80: { write() {} } } },
  );
  assertMatch(behindExits, /by `ret` at .*, to 0x20000, where the guest has no code/);
});

Deno.test(
  requires(STEPS, "a HLT elsewhere instead of the exit that was to come is told so"),
  () => {
    const there = asm`
    bits 32
    mov dword [0x20000], 0xf49090
    mov eax, 0x20000
    jmp eax
  `;
    const wanted = (vm: Machine) => expect(vm).toExit([portOut(0x80), hlt()]);
    const told = /by `jmp eax` at 0x1000f, .* to 0x20000, where the guest has no code/;
    const message = page(there, {}, wanted);
    assertMatch(message, told);
    assertStringIncludes(message, "guest at 0x20002, next 0x20003");
    // In the kernel it is no exit.
    assertMatch(page(there, { irqchip: true }, wanted), told);
  },
);

Deno.test(requires(STEPS, "what cannot be repeated is told beside what may have been"), () => {
  const message = page(
    asm`
      bits 32
      mov dword [0x20000], 0xe6
      call 0x20000
      hlt
    `,
    { memory: "8M" },
    (vm) => {
      vm.memory.write(0x10_0000, new Uint8Array(5 << 20));
      vm.run();
    },
  );
  assertMatch(message, /how it came there is not known: its run could not be repeated: more came/);
  assertMatch(message, /the top of its stack is 0x1000f: it may have come by the call before that/);
});
