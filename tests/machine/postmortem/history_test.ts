import { asm, boot, requires } from "@vmexit/vmexit";
import { assertEquals, assertMatch, assertThrows } from "@std/assert";

const STEPS = { singleStep: true } as const;

const guest = asm`
  mov bx, 1
  mov byte [0x900], 5
  in  al, 0x60
  mov [0x901], al
  mov bx, 2
again:
  out 0x80, al
  mov bx, 3
  inc byte [0x900]
  hlt
`;

function machine() {
  const vm = boot(guest, { mode: "real" });
  let key = 7;
  vm.ports.on(0x60, { read: () => key++ });
  vm.ports.on(0x80, { write: () => vm.memory.setU8(0x902, 9) });
  return vm;
}

Deno.test(requires(STEPS, "vm.at(): the machine as it was at each of its exits"), () => {
  using vm = machine();
  vm.run();
  const seen = [0, 1, 2, 3].map((exit) => {
    using past = vm.at(exit);
    const { registers: { bx, al }, memory } = past;
    return [past.exit, bx, al, ...memory.read(0x900, 3)];
  });
  assertEquals(seen, [
    [0, 0, 0, 0, 0, 0],
    [1, 1, 7, 5, 0, 0],
    [2, 2, 7, 5, 7, 9],
    [3, 3, 7, 6, 7, 9],
  ]);
  assertEquals([vm.registers.bx, vm.log.total], [3, 3]);
  for (const exit of [-1, 4, 1.5]) assertThrows(() => vm.at(exit), RangeError, "Cannot go back");
});

Deno.test(
  requires(STEPS, "stepBack(): one instruction before, over exits, up to the start"),
  () => {
    using vm = machine();
    vm.run();
    const texts: string[] = [];
    let past = vm.stepBack();
    for (;;) {
      const { registers: { rip, bx }, exit, steps } = past;
      texts.push(`${exit}.${steps} ${rip.toString(16)} ${bx}`);
      try {
        const before = past.stepBack();
        past[Symbol.dispose]();
        past = before;
      } catch (error) {
        assertMatch((error as Error).message, /^Cannot step back: the run began there$/);
        break;
      }
    }
    past[Symbol.dispose]();
    assertEquals(
      texts,
      [
        "2.2 519 3",
        "2.1 515 3",
        "2.0 512 2",
        "1.2 510 2",
        "1.1 50d 1",
        "1.0 50a 1",
        "0.2 508 1",
        "0.1 503 1",
        "0.0 500 0",
      ].map((each) => each),
    );
  },
);

Deno.test(requires(STEPS, "lastWriter(): the guest's instruction, the host, or nobody"), () => {
  using vm = machine();
  vm.run();
  const { by, exit, text, line, before, after } = vm.lastWriter(0x900)!;
  assertEquals([by, exit, text, before, after], ["guest", 2, "inc byte [0x900]", 5, 6]);
  assertMatch(line!, /^history_test\.ts:\d+$/);
  const host = vm.lastWriter(0x902)!;
  assertEquals([host.by, host.exit, host.text, host.after], ["host", 2, "", 9]);
  assertEquals(vm.lastWriter(0x903), undefined);
});

Deno.test(requires(STEPS, "trace(): a line for each instruction, from a label on, so many"), () => {
  using vm = machine();
  vm.run();
  const lines = vm.trace({ from: "again" }).split("\n");
  assertEquals(
    lines.map((line) => line.replace(/\S+\.ts:\d+/, "").replace(/ +/g, " ").trim()),
    [
      "behind exit 1",
      "0x510 out 0x80,al",
      "behind exit 2",
      "0x512 mov bx,0x3 rbx=0x3",
      "0x515 inc byte [0x900]",
      "0x519 hlt",
    ],
  );
  assertMatch(
    vm.trace({ steps: 2 }),
    /… and more: these are the first 2 steps; what comes later is shown with `from`$/,
  );
  assertThrows(() => vm.trace({ from: 0x1234 }), RangeError, "the guest has not come there");
  assertThrows(() => vm.trace({ steps: 0 }), RangeError, "Cannot trace 0 steps");
});

Deno.test(requires(STEPS, "a trace is bounded, and says so"), () => {
  using vm = boot(asm`
    mov ecx, 1_000
  again:
    dec ecx
    jnz again
    hlt
  `);
  vm.run();
  assertThrows(
    () => vm.trace({ steps: 10_000_000 }),
    RangeError,
    "Cannot trace 10000000 steps: it is not a whole number from 1 to 100000; to see what comes later, begin there with `from`",
  );
  const lines = vm.trace({ steps: 200 }).split("\n");
  assertEquals(lines.length, 202);
  assertMatch(lines[2], /^ {2}0x\w+ {2}dec ecx .* rcx=0x3e7$/);
  assertMatch(lines[3], /^ {2}0x\w+ {2}jnz 0x506/);
});

Deno.test(
  requires(
    STEPS,
    "a trace of a run that goes another way has what there is until then, and says so",
  ),
  () => {
    using vm = boot(
      asm`
    mov bx, 1
    rdtsc
    out 0x80, eax
    hlt
  `,
      { ports: { 0x80: { write() {} } } },
    );
    vm.run();
    const lines = vm.trace().split("\n");
    assertMatch(lines[1], /mov bx,0x1/);
    assertMatch(
      lines.at(-1)!,
      /^… and more: it went another way: exit 1 was IO out 0x80 dword .* instead of .*; what comes later is shown with `from`$/,
    );
  },
);

Deno.test(requires(STEPS, "a run that cannot be repeated has no past, and says why"), () => {
  using vm = boot(asm`hlt`, { memory: "8M" });
  vm.memory.write(0x10_0000, new Uint8Array(5 << 20));
  vm.run();
  assertThrows(
    () => vm.at(0),
    TypeError,
    "the run cannot be repeated: more came to its guest from outside than is recorded",
  );
  assertThrows(() => vm.trace(), TypeError, "Cannot look at what was before");
});

Deno.test(
  requires(
    STEPS,
    "a run whose accesses to MSRs the test answers is repeated with the same answers",
  ),
  () => {
    using vm = boot(asm`
    mov ecx, 0x1b0
    rdmsr
    mov ebx, eax
    mov ecx, 0x4b0
    mov eax, 3
    wrmsr
    hlt
  `);
    using _ = vm.msrs.on(0x1b0, { read: () => 0x1234n });
    using __ = vm.msrs.on(0x4b0, { write() {} });
    vm.run();
    assertEquals(vm.registers.ebx, 0x1234);
    using past = vm.at(1);
    assertEquals(past.registers.eax, 0x1234);
    using end = vm.at(3);
    assertEquals([end.registers.ebx, end.exit], [0x1234, 3]);
  },
);
