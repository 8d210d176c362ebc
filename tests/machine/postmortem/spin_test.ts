import { asm, boot, type BootOptions, type Guest, TimeLimitError } from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

/** What the page of a guest that its time limit has stopped says of its loop; empty where it has no such part. */
function loop(guest: Guest, options: BootOptions = {}): string {
  using vm = boot(guest, { timeout: 10, ...options } as BootOptions);
  const { message } = assertThrows(() => vm.run(), TimeLimitError);
  const [, told = ""] = message.split("\nthe loop in which it was stopped\n");
  return told.split(/\n(?! )/)[0].replaceAll(/\s+/g, " ").trim();
}

Deno.test("a guest that waits for memory is told its loop, the place and the value there", () => {
  const told = loop(asm`
    bits 32
  wait_flag:
    pause
    cmp dword [flag], 7
    jne wait_flag
    hlt
  flag: dd 5
  `);
  assertMatch(
    told,
    /0x10000 pause (→ )?0x10002 cmp dword \[dword 0x1000c\],byte \+0x7 (→ )?0x10009 jnz 0x10000 <wait_flag> it reads a dword at 0x1000c, flag \(spin_test\.ts:\d+\): 0x00000005\. It is memory, which only a device or the test could write meanwhile it stays there as long as `jnz 0x10000` at 0x10009, .* is taken RFLAGS\.IF is clear: no interrupt leads out of it$/,
  );
});

Deno.test("a guest that waits for a device is told which, and what that has answered", () => {
  const byPort = loop(
    asm`
    wait_ready:
      in al, 0x64
      test al, 2
      jnz wait_ready
      hlt
    `,
    { ports: { 0x64: { name: "keyboard", read: () => 2 } } },
  );
  assertMatch(
    byPort,
    /it reads port 0x64, which keyboard has answered with 0x2, the last \d+ times that are in the log it stays there as long as `jnz 0x500` at 0x504, .* is taken/,
  );
  const byMemory = asm`
    bits 32
  wait_ready:
    mov eax, [0xfe000000]
    test eax, 0x80
    jz wait_ready
    hlt
  `;
  using vm = boot(byMemory, { timeout: 10, mmio: { 0xfe000000: { read: () => 1 } } });
  const { message } = assertThrows(() => vm.run(), TimeLimitError);
  assertMatch(
    message,
    /it reads a dword at 0xfe000000, which handler has answered with 0x1, the last/,
  );
  // That no memory is there is nothing odd: a device answers.
  assertEquals(message.includes("what is odd"), false);
});

Deno.test("a loop through a function, of a lock, of a counter, without a way out", () => {
  const byCall = loop(
    asm`
      bits 64
    send:
      mov edi, 0x3fd
      call inb
      test al, 0x20
      jz send
      hlt
    inb:
      mov edx, edi
      in al, dx
      ret
    `,
    { ports: { 0x3fd: { read: () => 0 } }, serial: false },
  );
  assertMatch(
    byCall,
    /call 0x\w+ <inb> .*0x\w+ in al,dx .*ret .*it stays there as long as `jz 0x10000`/,
  );
  const lock = loop(asm`
    bits 32
    mov al, 1
  again:
    xchg al, [taken]
    test al, al
    jnz again
    hlt
  taken: db 1
  `);
  assertMatch(lock, /it reads a byte at 0x\w+, taken .*: 0x01, and writes it at once: a lock/);
  assertMatch(
    loop(asm`
      bits 32
      sti
      mov ecx, -1
      loop $
      hlt
    `),
    /it reads nothing but its registers, and counts: RCX is 0xf\w+ it stays there as long as `loop 0x10006` at 0x10006, .* is taken$/,
  );
  assertMatch(
    loop(asm`
      bits 32
      jmp $
    `),
    /^→ 0x10000 jmp short 0x10000 no jump leads out of it RFLAGS\.IF is clear: no interrupt leads/,
  );
});

Deno.test("of several CPUs the others are told as those who could change what one waits for", () => {
  const told = loop(
    asm`
      bits 32
    again:
      cmp byte [flag], 0
      je again
      hlt
    flag: db 0
    `,
    { cpus: 2, irqchip: true },
  );
  assertMatch(told, /It is memory, which only CPU 1, a device or the test could write meanwhile/);
});

Deno.test("a guest that waits in HLT is in no loop", () => {
  const waiting = asm`
    bits 32
    sti
  again:
    hlt
    jmp again
  `;
  assertEquals(loop(waiting, { irqchip: true }), "");
});
