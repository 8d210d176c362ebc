import { assertEquals } from "@std/assert";
import { asm, type AsmSource, boot, type BootOptions } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";

/** The rows of the page that say where a halted guest was called from, without their addresses. */
function calledFrom(guest: AsmSource, options: BootOptions = {}): string[] {
  using vm = boot(guest, options);
  vm.run();
  const rows = statePage(vm).split("\n");
  const first = rows.findIndex((row) => row.startsWith("called from"));
  if (first < 0) return [];
  const end = rows.findIndex((row, index) => index > first && !row.startsWith("  "));
  return rows.slice(first, end).map((row) =>
    row.replace(/0x[0-9a-f]+ {2}\S+_test\.ts:\d+ {2}/, "").trimEnd()
  );
}

const MODES = [
  { mode: "real", bits: 16, bp: "bp", sp: "sp" },
  { mode: "protected", bits: 32, bp: "ebp", sp: "esp" },
  { mode: "long", bits: 64, bp: "rbp", sp: "rsp" },
] as const;

for (const { mode, bits, bp, sp } of MODES) {
  Deno.test(`callers are found by frame pointers, and by a call of just this function: ${mode}`, () => {
    const guest = asm`
      bits ${bits}
    _start:
      xor ${bp}, ${bp}
      call outer
      hlt
    outer:
      push ${bp}
      mov ${bp}, ${sp}
      push inner          ; neither of the two was called from here
      push outer
      call inner
      hlt
    inner:
      push ${bp}
      mov ${bp}, ${sp}
      push 0
      call leaf
      hlt
    leaf:
      push 7
    .wait:
      hlt
    `;
    const rows = calledFrom(guest, { mode, memory: "1M" });
    assertEquals(rows.map((row) => row.replace(/\+0x[0-9a-f]+/, "")), [
      "called from",
      "    inner",
      "    outer",
      "    _start",
    ]);
  });
}

Deno.test("without frames what looks like a return address is marked", () => {
  const guest = asm`
    bits 64
  first:
    call outer
    hlt
  outer:
    sub rsp, 64
    mov eax, inner
    call rax
    hlt
  inner:
    sub rsp, 64
    hlt
  `;
  assertEquals(
    calledFrom(guest),
    [
      "called from (?: looks like a return address on the stack)",
      "  ? outer+0xb",
      "  ? first+0x5",
    ].map((row) => row),
  );
});

Deno.test("code that was interrupted is told from a call, and its callers follow", () => {
  const guest = asm`
    bits 64
    _start:
      call worker
      hlt
    worker:
      push rbp
      mov rbp, rsp
      int3
      hlt
    handler:
      push rax
      push rcx
      hlt
  `;
  const rows = calledFrom(guest, { gates: { 3: "handler" } });
  assertEquals(rows.map((row) => row.replace(/\+0x[0-9a-f]+/, "")), [
    "called from",
    "    worker  (interrupted there)",
    "    _start",
  ]);
});

Deno.test("a recursion without end takes one row", () => {
  const guest = asm`
    bits 64
    mov ecx, 1000
    xor ebp, ebp
    call down
    hlt
  down:
    push rbp
    mov rbp, rsp
    dec ecx
    jz .bottom
    call down
  .bottom:
    hlt
  `;
  const [, first] = calledFrom(guest, { memory: "1M", stack: 0x8_0000 });
  assertEquals(first, "    down+0xd  (999 times)");
});

Deno.test("a guest that has called nothing has no such rows", () => {
  assertEquals(
    calledFrom(asm`
    hlt
  `),
    [],
  );
  assertEquals(
    calledFrom(asm`
    bits 64
    mov rsp, 0x123456789
    hlt
  `),
    [],
  );
});

for (const { mode, bits } of MODES) {
  Deno.test(`a frame pointer far away is none, and no search goes as far: ${mode}`, () => {
    const far = asm`
      bits ${bits}
      mov ebp, 0x12345678
      hlt
    `;
    const rows = calledFrom(far, { mode } as BootOptions);
    assertEquals(rows, []);
  });
}
