import { assertEquals, assertThrows } from "@std/assert";
import { asm, boot, type BootOptions, expect, hlt, type Machine, portOut } from "@vmexit/vmexit";

const guest = asm`
  zero:
    mov al, 0x10
    hlt
  one:
    mov al, 0x11
    out 0x80, al
  spin:
    jmp spin
  broken:
    ud2
`;

/** How CPU 1 fails, and the source that its page must mark. */
const FAILURES: [
  what: string,
  options: BootOptions,
  fail: (vm: Machine) => void,
  source: string,
][] = [
  ["an exit that nobody answers", {}, (vm) => vm.run(), "out 0x80, al"],
  [
    "the time limit",
    { timeout: 10, ports: { 0x80: { write() {} } } },
    (vm) => vm.run(),
    "jmp spin",
  ],
  [
    "a fault",
    { catchFaults: true, cpus: [{}, { entry: "broken", stack: 0x6000 }] },
    (vm) => vm.run(),
    "ud2",
  ],
  [
    "a fault in place of another CPU's",
    { catchFaults: true, cpus: [{}, { entry: "broken", stack: 0x6000 }] },
    (vm) => expect(vm).toFault("#GP"),
    "ud2",
  ],
  [
    "registers",
    {},
    (vm) => {
      assertThrows(() => vm.run());
      expect(vm.cpus[1]).toHaveRegisters({ al: 0x10 });
    },
    "out 0x80, al",
  ],
  ["its transcript", {}, (vm) => expect(vm.cpus[1]).toExit([portOut(0x80, 9)]), "out 0x80, al"],
  [
    "one of several transcripts",
    {},
    (vm) => expect(vm).toExit({ 0: [hlt()], 1: [portOut(0x80, 9)] }),
    "out 0x80, al",
  ],
  [
    "an exit of its own during the transcript of CPU 0",
    { cpus: [{ entry: "spin" }, { entry: "one" }] },
    (vm) => expect(vm).toExit([hlt()]),
    "out 0x80, al",
  ],
  [
    "an exit behind the transcript of CPU 0",
    { cpus: [{}, { entry: "one" }], interleaving: { seed: 3, instructions: 1 } },
    (vm) => expect(vm.cpus[0]).toExit([hlt()], { then: "silence" }),
    "out 0x80, al",
  ],
];

Deno.test.each(FAILURES)("CPU 1 fails by %s: the page is about it, and shows its code", (
  _what,
  options,
  fail,
  source,
) => {
  using vm = boot(guest, { cpus: [{}, { entry: "one" }], timeout: 20, ...options } as BootOptions);
  const { message } = assertThrows(() => fail(vm), Error);
  const [, place, mark] = /^(CPU \d) at 0x[^]*?^ {2}→ +\d+ │ +(.*)$/m.exec(message) ?? [];
  assertEquals([place, mark], ["CPU 1", source]);
  assertEquals(/^ {2}→ 0x\S+ .* {2}(\w+)/m.exec(message)?.[1], source.split(" ")[0]);
  assertEquals(/^the other CPUs\n {4}CPU 0 at 0x/m.test(message), true, message);
});

Deno.test("the page of CPU 0 is about it, whichever CPU had the latest exit", () => {
  using vm = boot(guest, { cpus: [{}, { entry: "one" }], timeout: 20 });
  // One after the other: by turns, a host that is busy may let CPU 1 come to its exit first.
  for (const cpus of [[0], [1]]) {
    for (const { exit } of vm.exits({ cpus })) if (exit.reason === "IO") break;
  }
  assertEquals(vm.log.latest?.cpu, 1);
  const { message } = assertThrows(() => expect(vm).toHaveRegisters({ al: 0x11 }), Error);
  assertEquals(/^CPU 0 at 0x502, next 0x503/m.test(message), true, message);
  assertEquals(/^ {2}→ +\d+ │ +(.*)$/m.exec(message)?.[1], "hlt");
});

Deno.test("a CPU in another mode is shown with the code of its own mode", () => {
  using vm = boot(
    asm`
      bits 64
      mov eax, 0xfee00000
      mov dword [rax + 0xf0], 0x1ff           ; enables the local APIC
      mov dword [rax + 0x300], 0xc4500        ; INIT to the others
      mov dword [rax + 0x300], 0xc4611        ; and a SIPI, for 0x11000
    waiting:
      pause
      jmp waiting
      align 4096
      bits 16
    ap:
      mov eax, 0x12345678
      out 0x80, eax
      hlt
    `,
    {
      cpus: 2,
      timeout: 200,
      mappings: [
        { linear: 0, physical: 0, size: 0x200000 },
        { linear: 0xfee00000, physical: 0xfee00000, size: 0x1000 },
      ],
    } as BootOptions,
  );
  const { message } = assertThrows(() => vm.run(), Error);
  assertEquals(/^CPU 1 at 0x11006, next 0x11009 in real mode$/m.test(message), true, message);
  assertEquals(/^ {2}→ +\d+ │ +(.*)$/m.exec(message)?.[1], "out 0x80, eax");
  assertEquals(/^ {2}→ 0x11006 {2}66 e7 80 {2}out 0x80,eax$/m.test(message), true, message);
});
