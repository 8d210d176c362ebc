import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, type AsmSource, boot, Image, type Machine, UnhandledExitError } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";

/** The line of the page that marks the instruction, without its address and bytes. */
function marked(vm: Machine): string | undefined {
  return /^ {2}→ 0x[^ ]+ {2}.*? {2,}(.*)$/m.exec(statePage(vm))?.[1];
}

/** Runs a guest to its `number`th exit, all reads answered but, where asked, the last. */
function runTo(vm: Machine, number: number, isAnswered = true): void {
  for (const each of vm.exits()) {
    const { exit } = each;
    const isRead = (exit.reason === "IO" && exit.direction === "in") ||
      (exit.reason === "MMIO" && !exit.isWrite);
    if (isRead && (isAnswered || each.number < number)) vm.answer(0);
    if (each.number === number) return;
  }
}

const ports = asm`
  mov dx, 0x80
  mov al, 'z'
  out dx, al
  out dx, al
  out 0x81, ax
  mov si, text
  mov cx, 3
  cld
  rep outsb
  in  al, dx
  in  eax, 0x82
  mov di, 0x800
  insw
  hlt
text: db "abc"
`;

const memory = asm`
  mov ax, 0x200
  mov ds, ax
  mov es, ax
  xor di, di
  mov al, [0x10]
  mov [0x20], ax
  mov cx, 3
  cld
  rep stosb
  push word [0x30]
  inc dword [0x40]
  hlt
`;

/** By the number of the exit: the instruction that caused it. */
const CAUSES: [what: string, guest: AsmSource, causes: Record<number, string>][] = [
  ["a port", ports, {
    1: "out dx,al",
    3: "out 0x81,ax",
    4: "rep outsb",
    5: "rep outsb",
    6: "rep outsb",
    7: "in al,dx",
    8: "in eax,0x82",
    9: "insw",
    10: "hlt",
  }],
  ["memory", memory, {
    1: "mov al,[0x10]",
    2: "mov [0x20],ax",
    3: "rep stosb",
    5: "rep stosb",
    6: "push word [0x30]",
    7: "inc dword [0x40]",
    8: "inc dword [0x40]",
    9: "hlt",
  }],
];

for (const [what, guest, causes] of CAUSES) {
  Deno.test(`the page marks the instruction that caused an exit at ${what}, wherever rip is`, () => {
    using vm = boot(guest, { memory: "4K" });
    const seen: Record<number, string | undefined> = {};
    for (const { number, exit } of vm.exits()) {
      const isRead = (exit.reason === "IO" && exit.direction === "in") ||
        (exit.reason === "MMIO" && !exit.isWrite);
      if (isRead) vm.answer(0);
      if (number in causes) seen[number] = marked(vm);
    }
    assertEquals(seen, causes);
  });
}

Deno.test("the page marks a read that waits for its answer", () => {
  using vm = boot(ports);
  runTo(vm, 8, false);
  assertEquals(marked(vm), "in eax,0x82");
});

Deno.test("the page marks the next instruction where no exit has stopped the guest", () => {
  using vm = boot(
    asm`
    out 0x80, al
  again:
    jmp again
  `,
    { timeout: 2 },
  );
  assertEquals(marked(vm), "out 0x80,al");
  vm.ports.on(0x80, { write() {} });
  try {
    vm.run();
  } catch {
    // The time limit.
  }
  assertEquals(marked(vm), "jmp short 0x502  <again>");
  vm.registers.rip = 0x500n;
  vm.step();
  assertEquals(marked(vm), "jmp short 0x502  <again>");
});

Deno.test("of an image without source lines the page marks the instruction by its opcode", () => {
  using vm = boot(
    Image.fromBytes(new Uint8Array([0xb0, 1, 0xe6, 0x80, 0xee, 0xf4]), { origin: 0x500 }),
  );
  vm.ports.on([0, 0x80], { write() {} });
  const seen = [];
  for (const _ of vm.exits()) seen.push(marked(vm));
  assertEquals(seen, ["out 0x80,al", "out dx,al", "hlt"]);
});

Deno.test("the page has the source, the instructions, the registers, the exits and the serial line", () => {
  using vm = boot(asm`
    bits 64
  greet:
    mov rbx, 0x1234567890abcdef
    mov r15, -1
    in  al, 0x60
    mov dx, 0x3f8
    mov al, 27
    out dx, al
    cmp al, al
    hlt                         ; the end
  `);
  vm.ports.on(0x60, { name: "keyboard", read: () => 0x61 });
  vm.run();
  const page = statePage(vm).replace(/\/.*\/tests\//, "…/tests/").replace(/ts:\d+/, "ts:N")
    .replaceAll(/^( {2}[→ ] )\d+ │/gm, "$1N │");
  assertEquals(
    page,
    `guest at 0x1001c, next 0x1001d in 64-bit mode
  …/tests/machine/report/state_page_test.ts:N  greet+0x1c
    N │ mov al, 27
    N │ out dx, al
    N │ cmp al, al
  → N │ hlt                         ; the end
  → 0x1001c  f4  hlt
registers that changed since boot
    rax 0x1b                rbx 0x1234567890abcdef  rdx 0x3f8
    r15 0xffffffffffffffff
    rip 0x1001d, rflags 0x46 (PF ZF)
exits so far
    1  IO in 0x60 byte → 0x61 "a"  answered by keyboard
    2  IO out 0x3f8 byte 0x1b      answered by COM1
    3  HLT
serial output so far
    \\x1b`,
  );
});

/** The source that a page shows, without the numbers of its lines. */
function excerpt(vm: Machine): string[] {
  return [...statePage(vm).matchAll(/^ {2}([→ ] )\d+ (│.*)$/gm)].map(([, mark, text]) =>
    mark + text
  );
}

Deno.test("the page has the source as it stands in the file: labels, comments, empty lines, indentation", () => {
  using vm = boot(asm`
    %macro post 1                 ; one byte
      mov al, %1
      out 0x80, al
    %endmacro

    again:
      ; say it
      post 'A'

      jmp done ; away
      nop
    done:
      hlt
  `);
  runTo(vm, 1);
  assertEquals(excerpt(vm), [
    "  │ again:",
    "  │   ; say it",
    "→ │   post 'A'",
    "  │",
    "  │   jmp done ; away",
  ]);
  runTo(vm, 2);
  assertEquals(excerpt(vm), ["  │   jmp done ; away", "  │   nop", "  │ done:", "→ │   hlt"]);
});

Deno.test("the page has the source of a literal within another by its own lines", () => {
  const inner = asm`
    ; the inner one
    mov al, 7
    out 0x80, al
    ; behind it
  `;
  using vm = boot(asm`
      mov al, 3
    before:
      ${inner}
    after:
      hlt
  `);
  runTo(vm, 1);
  assertEquals(excerpt(vm), [
    "  │ ; the inner one",
    "  │ mov al, 7",
    "→ │ out 0x80, al",
    "  │ ; behind it",
  ]);
});

Deno.test("a guest that runs off its end is told that its hlt is missing, and one that has it is not", () => {
  const hint = "the guest's bytes end here";
  const withoutHlt = asm`out 0x80, al`;
  const withHlt = asm`
    out 0x80, al
    hlt
  `;
  for (const [guest, isTold] of [[withoutHlt, true], [withHlt, false]] as const) {
    using vm = boot(guest);
    runTo(vm, 1);
    assertEquals(statePage(vm).includes(hint), isTold);
  }
  using vm = boot(withHlt);
  vm.ports.on(0x80, { write() {} });
  vm.run();
  assertEquals(statePage(vm).includes(hint), false);
});

Deno.test("after a triple fault the page does not take the reset registers for the guest's", () => {
  using vm = boot(asm`
    lidt [zero]
    ud2
  zero: dq 0
  `);
  vm.run({ until: "shutdown" });
  const page = statePage(vm);
  // A processor with VMX keeps them; with SVM they are those of a repeated run.
  assertMatch(page, /^guest at 0x5[\da-f]+ in real mode$/m);
  assertMatch(page, /^ {4}idtr {2}base 0x0 limit 0x0$/m);
  assertStringIncludes(page, "ud2");
});

Deno.test("the page is bounded, however much the guest did", () => {
  using vm = boot(asm`
  again:
    mov dx, 0x3f8
    mov al, 'x'
    out dx, al
    dec byte [count]
    jnz again
    hlt
  count: db 0
  `);
  vm.run();
  const lines = statePage(vm).split("\n");
  assertEquals(lines.includes("the last 64 of 257 exits"), true);
  assertEquals(lines.length < 40, true);
});

Deno.test("of a guest that prints the page has the text in a row, and what came before it", () => {
  using vm = boot(asm`
    out 0x80, al
    mov si, text
    mov dx, 0x3f8
    mov cx, end - text
  next:
    lodsb
    out dx, al
    loop next
    out 0x81, al
    hlt
  text: db "Hello, world"
  end:
  `);
  vm.ports.on(0x80, { name: "post", write() {} });
  const { message } = assertThrows(() => vm.run(), UnhandledExitError);
  const rows = message.slice(message.indexOf("exits so far")).split("\n").slice(0, 4);
  assertEquals(rows, [
    "exits so far",
    "       1  IO out 0x80 byte 0x0                   answered by post",
    '    2–13  IO out 0x3f8 byte × 12 "Hello, world"  answered by COM1',
    '      14  IO out 0x81 byte 0x64 "d"              nobody answered',
  ]);
});
