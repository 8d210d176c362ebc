import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { asm, boot, Image, type Machine, UnhandledExitError } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";

/** What the page says between the place and the instructions, without the numbers of source lines. */
function told(vm: Machine): string[] {
  const page = statePage(vm).split("\n");
  const lines = page.slice(page.findIndex((line) => line.startsWith("guest at")) + 1);
  const end = lines.findIndex((line) => line.startsWith("  →") || line.includes("mapped there"));
  return lines.slice(0, end).map((line) => line.trim().replaceAll(/_test\.ts:\d+/g, "_test.ts:N"));
}

/** Executes instructions one by one: where a time limit stops a guest is never the same. */
function stepThrough(vm: Machine, count: number): void {
  for (let index = 0; index < count; index++) vm.step();
}

Deno.test("a guest that has run on past its end is told so, with the line that it ran past", () => {
  using vm = boot(asm`
    mov al, 0
    mov bx, 5 ; the last one
  `);
  stepThrough(vm, 5);
  assertEquals(vm.registers.rip, 0x50bn);
  assertEquals(told(vm), [
    "outside of the guest's image, which lies at 0x500–0x504",
    "only zeros between its end at 0x505 and here: it may have run on past " +
    "`mov bx, 5` (outside_image_test.ts:N). Is a hlt missing?",
  ]);
});

Deno.test("a guest that has run off the end of memory is told so, too", () => {
  using vm = boot(
    asm`
      bits 64
      lea rax, [rel $$]
      nop
    `,
    { memory: 0x1_1000 },
  );
  const { message } = assertThrows(() => vm.run(), UnhandledExitError);
  assertEquals(vm.registers.rip, 0x1_1000n);
  assertEquals(told(vm)[0], "outside of the guest's image, which lies at 0x10000–0x10007");
  assertMatch(
    message,
    /executes zeros .* from 0x10008 on; it ran on into them\s+behind `nop` at 0x10007, outside_image_test\.ts/,
  );
  assertEquals(/KVM's data: .* 0x11000 0x0 0x0$/m.test(message), true);
});

Deno.test("a guest that lies at another CS is looked for there", () => {
  using vm = boot(asm`mov al, 0`, { cs: 0x1000, ip: 0 });
  stepThrough(vm, 2);
  assertEquals(told(vm)[0], "outside of the guest's image, which lies at 0x10000–0x10001");
  assertEquals(told(vm)[1].startsWith("only zeros between its end at 0x10002 and here"), true);
});

Deno.test("a guest that jumped elsewhere is not told that it has run on", () => {
  const elsewhere = [
    asm`
      bits 64
      mov byte [0x18000], 1
      mov eax, 0x20000
      jmp rax
      nop
    `,
    asm`
      bits 64
      mov eax, 0x20000
      nop
      jmp rax
    `,
    asm`
      bits 64
      push 0x20000
      nop
      ret
    `,
  ];
  for (const guest of elsewhere) {
    using vm = boot(guest);
    stepThrough(vm, 4);
    const inside = vm.image.segmentAt(vm.registers.rip) !== undefined;
    assertEquals(inside, false);
    const [first, ...others] = told(vm);
    assertEquals(first.startsWith("outside of the guest's image, which lies at 0x10000–"), true);
    assertEquals(others, []);
  }
});

Deno.test("a guest that called what is no code is told the call, as long as its return address is on top", () => {
  for (const bits of [16, 32, 64] as const) {
    using vm = boot(
      bits === 16
        ? asm`
          mov bx, 0x900
          mov byte [0x880], 1
          call bx ; away
          hlt
        `
        : bits === 32
        ? asm`
          bits 32
          mov ebx, 0x30000
          mov byte [0x20000], 1
          call ebx ; away
          hlt
        `
        : asm`
          bits 64
          mov ebx, 0x30000
          mov byte [0x20000], 1
          call rbx ; away
          hlt
        `,
    );
    stepThrough(vm, 4);
    const behind = vm.image.origin + BigInt(vm.image.size) - 1n;
    const register = { 16: "bx", 32: "ebx", 64: "rbx" }[bits];
    assertEquals(told(vm).slice(1), [
      `the top of its stack is 0x${
        behind.toString(16)
      }: it may have come by the call before that, ` +
      `\`call ${register}\` (outside_image_test.ts:N)`,
    ]);
    vm.registers.rsp -= 8n;
    assertEquals(told(vm).length, 1);
  }
});

Deno.test("of an image without source lines the page knows where it ends", () => {
  using vm = boot(
    Image.fromBytes(new Uint8Array([0x90]), { origin: 0x500, symbols: { go: 0x500 } }),
  );
  stepThrough(vm, 2);
  assertEquals(
    told(vm)[1],
    "only zeros between its end at 0x501 and here: " +
      "it may have run on past go. Is a hlt missing?",
  );
});

Deno.test("a kernel of the upper half is looked for where it was loaded, and where its page tables have it", () => {
  const address = 0xffff_ffff_8001_0000n;
  using vm = boot(
    new Image({
      segments: [{
        address,
        loadAddress: 0x1_0000n,
        bytes: new Uint8Array([0xb0, 0x00]), // mov al, 0
        size: 2,
      }],
      entry: 0x1_0000n,
      bits: 64,
      labels: { start: address },
    }),
    {
      mode: "long",
      mappings: [
        { linear: 0, physical: 0, size: 0x20_0000 },
        { linear: 0xffff_ffff_8000_0000n, physical: 0, size: 0x20_0000 },
      ],
    },
  );
  stepThrough(vm, 3);
  assertEquals(told(vm), [
    "outside of the guest's image, which lies at 0x10000–0x10001",
    "only zeros between its end at 0x10002 and here: it may have run on past start. Is a hlt missing?",
  ]);
  vm.registers.rip += address - 0x1_0000n;
  assertEquals(told(vm), [
    "outside of the guest's image, which lies at 0xffffffff80010000–0xffffffff80010001",
    "only zeros between its end at 0xffffffff80010002 and here: it may have run on past start. " +
    "Is a hlt missing?",
  ]);
});

Deno.test("a guest within its image, halted at its last byte too, is not told that it has left it", () => {
  for (const options of [{}, { mode: "long" }, { cs: 0x700, ip: 0 }] as const) {
    using vm = boot(
      asm`
      nop
      hlt
    `,
      options,
    );
    assertEquals(told(vm).some((line) => line.startsWith("outside of")), false);
    vm.run();
    assertEquals(told(vm).some((line) => line.startsWith("outside of")), false);
  }
});
