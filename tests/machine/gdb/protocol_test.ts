import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  AssertionError,
  boot,
  expect,
  hlt,
  type Machine,
  portOut,
  requires,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { GDB_VARIABLE } from "../../../lib/machine/gdb/debug_failures.ts";
import { framed, saying, type Step, talk } from "./talk.ts";

const STEPS = { singleStep: true } as const;
const ALL_REGISTERS = /\$([0-9a-f]{300,})#/;

const served = (vm: Machine, steps: readonly Step[]) =>
  talk(steps, (onListening) => vm.serveGdb({ port: 0, timeout: 20_000, onListening }));

const SPINS = asm`
  inc dword [0x900]
  jmp $$
`;

Deno.test("Ctrl-C stops a guest that spins", async () => {
  using vm = boot(SPINS);
  const heard = await served(vm, [
    { send: framed("vCont;c") },
    { send: "\x03", until: "T02.*#", idle: 50 },
    ...saying("D"),
  ]);
  assertStringIncludes(heard, "$T02thread:1;#");
  assertEquals(vm.lastExit?.reason, "INTR");
});

Deno.test("gdb that is gone in the middle of a run ends it, and the test goes on", async () => {
  const before = openHandles();
  {
    using vm = boot(SPINS);
    await served(vm, [{ send: framed("c"), idle: 10 }, { send: "", idle: 50 }]);
    assertEquals(vm.lastExit?.reason, "INTR");
    vm.linear.write(vm.registers.rip, [0xf4]);
    assertEquals(vm.run().reason, "HLT");
  }
  assertEquals(openHandles(), before);
});

Deno.test("gdb that is gone leaves no breakpoint behind", async () => {
  using vm = boot(asm`
    nop
  there:
    nop
    hlt
  `);
  const there = vm.image.symbol("there").toString(16);
  await served(vm, saying(`Z0,${there},1`, "c"));
  assertEquals(vm.registers.rip, vm.image.symbol("there"));
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("nobody attaches: an error that says how", () => {
  using vm = boot(SPINS);
  const error = assertThrows(
    () => vm.serveGdb({ port: 0, timeout: 20 }),
    RangeError,
    "Cannot serve gdb: nobody attached",
  );
  assertStringIncludes(error.stack!, "protocol_test.ts");
});

Deno.test("a port that is none, taken, or asked for by a disposed machine is an error", () => {
  const vm = boot(SPINS);
  assertThrows(
    () => vm.serveGdb({ port: 65_536 }),
    RangeError,
    "Cannot listen on port 65536: ports are 0 to 65535",
  );
  assertThrows(() => vm.serveGdb({ timeout: 0 }), RangeError, "Cannot limit");
  assertThrows(() => vm.serveGdb({ prot: 1 } as never), TypeError, "prot");
  using other = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = other.addr as Deno.NetAddr;
  assertThrows(() => vm.serveGdb({ port }), Error, `nobody listens on 127.0.0.1:${port}`);
  vm[Symbol.dispose]();
  assertThrows(
    () => vm.serveGdb({ port: 0 }),
    TypeError,
    "Cannot serve gdb: the machine is disposed",
  );
});

Deno.test("nonsense is refused or passed over, and what comes behind is answered", async () => {
  using vm = boot(SPINS);
  const nonsense = [
    ...[
      "",
      "zzz",
      "m",
      "m1",
      "mzz,4",
      "m0,zz",
      "M0,2:0",
      "M0,1:zz",
      "X0,1:",
      "P",
      "Pzz=00",
      "P0=123",
      "p999",
      "G00",
    ],
    ...[
      "Z",
      "Z9,0,1",
      "Z0,g,1",
      "z0,1,1",
      "H",
      "Hg99",
      "T0",
      "T99",
      "v",
      "vCont;s:99",
      "vCont",
      "qXfer:features:read:target.xml:x,1",
    ],
    ...[
      "qXfer:features:write:target.xml:0,1",
      "qRcmd,",
      "qRcmd,zz",
      "qThreadExtraInfo,99",
      "Q",
      "q",
      "R00",
      "!",
      "\xff",
    ],
  ];
  const heard = await served(vm, [
    { send: "garbage\xff$$#zz" },
    { send: "$g#00", until: "-" },
    ...saying(...nonsense, "?", "g", "D"),
  ]);
  assertStringIncludes(heard, "$T05thread:1;#");
  assert(ALL_REGISTERS.test(heard), heard);
  assertEquals(vm.hasRun, false);
});

Deno.test("memory is read as far as it is mapped, and written there alone", async () => {
  using vm = boot(SPINS, { memory: "128K" });
  vm.memory.write(0x1fffc, [1, 2, 3, 4]);
  const heard = await served(
    vm,
    saying("m1fffc,8", "m20000,4", "M1fffe,4:aabbccdd", "M1fffe,2:aabb", "X1fffc,2:}#", "D"),
  );
  assertEquals(heard.match(/\$[^#]*#/g), ["$01020304#", "$E0e#", "$E0e#", "$OK#", "$OK#", "$OK#"]);
  assertEquals([...vm.memory.read(0x1fffc, 4)], [0x7d, 0x23, 0xaa, 0xbb]);
});

Deno.test("each register that gdb writes one by one is the guest's, and all of them at once, too", async () => {
  using vm = boot(asm`
    bits 64
    hlt
  `);
  await served(vm, saying("P0=8877665544332211", "P11=02020000", "P18=0000000000000080ff3f", "D"));
  expect(vm).toHaveRegisters({ rax: 0x1122334455667788n, "rflags.iopl": 0 });
  assertEquals(vm.registers.st0.f64, 1);
  const heard = await served(vm, saying("g", "D"));
  const [, registers] = ALL_REGISTERS.exec(heard)!;
  await served(vm, saying(`G${"11".repeat(8)}${registers.slice(16)}`, "D"));
  assertEquals(vm.registers.rax, 0x1111111111111111n);
  assertEquals(vm.registers.st0.f64, 1);
});

/** Has failing tests wait for gdb, at a port that is free. */
function waitingForGdb(): Disposable & { readonly port: number } {
  using free = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = free.addr as Deno.NetAddr;
  Deno.env.set(GDB_VARIABLE, String(port));
  return { port, [Symbol.dispose]: () => Deno.env.delete(GDB_VARIABLE) };
}

Deno.test("a test that is about to fail waits for gdb at the fault, where that is asked for", async (t) => {
  const guest = asm`
    mov dl, 0x42
    out 0x80, al
    hlt
  `;
  const failures: [what: string, kind: new () => Error, fail: (vm: Machine) => unknown][] = [
    ["a run that nobody answers", UnhandledExitError as never, (vm) => vm.run()],
    [
      "a transcript that foresees another exit",
      AssertionError as never,
      (vm) => expect(vm).toExit([hlt()]),
    ],
    ["a register that is another", AssertionError as never, (vm) => {
      expect(vm).toExit([portOut(0x80), hlt()]);
      expect(vm).toHaveRegisters({ dl: 0 });
    }],
  ];
  using waiting = waitingForGdb();
  const { port } = waiting;
  for (const [what, kind, fail] of failures) {
    await t.step(what, async () => {
      using vm = boot(guest);
      const heard = await talk([...saying("g", "qRcmd,6661696c757265", "D")], (onListening) => {
        onListening(port);
        assertThrows(() => fail(vm), kind);
      });
      const [, text] = /\$((?:[0-9a-f]{2})+)#[^$]*\$OK/.exec(heard)!;
      const page = new TextDecoder().decode(
        Uint8Array.from(text.match(/../g)!, (each) => parseInt(each, 16)),
      );
      assertStringIncludes(page, "out 0x80, al");
      assert(ALL_REGISTERS.test(heard));
    });
  }
});

Deno.test(
  requires(
    { singleStep: true },
    "a test waits for gdb at the instruction of a triple fault, where KVM has reset the CPU",
  ),
  async () => {
    using waiting = waitingForGdb();
    const { port } = waiting;
    using vm = boot(asm`
    bits 64
    mov ebx, 0x1234
    mov ecx, 0x5678
  fails:
    ud2
  `);
    const heard = await talk(saying("g", "bs", "p10", "D"), (onListening) => {
      onListening(port);
      assertThrows(() => vm.run(), UnhandledExitError);
    });
    // What was executed before: `mov ecx`, of 5 bytes.
    const [, rip] = /\$([0-9a-f]{16})#/.exec(heard)!;
    const before = vm.image.symbol("fails") - 5n;
    assertEquals(parseInt(rip.slice(2, 4) + rip.slice(0, 2), 16), Number(before & 0xffffn));
    assertEquals([vm.registers.rip, vm.registers.rbx, vm.registers.rcx], [
      vm.image.symbol("fails"),
      0x1234n,
      0x5678n,
    ]);
    assertEquals(vm.registers.efer.lma, true);
  },
);

/** Packets of bytes that gdb heard, without their frames. */
const packetsIn = (heard: string) =>
  [...heard.matchAll(/\$([^#]*)#/g)].map(([, content]) => content);

const COUNTS = asm`
    mov cx, 2000
  again:
    inc word [0x900]
    loop again
    mov bx, 7
    hlt
`;

Deno.test(
  requires(STEPS, "in the past nothing is written, and nonsense is passed over"),
  async () => {
    using vm = boot(asm`
    mov ax, 1
    mov ax, 2
    hlt
  `);
    vm.run();
    const heard = packetsIn(
      await served(
        vm,
        saying(
          ...["b", "bz", "bsc", "bs", "bs", "P0=01000000", "G00", "M900,1:01", "X900,1:a"],
          ...["Z0,900,1", "p0", "?", "T1", "Hg1", "vCont;s:1", "vCont;s:9", "p0", "bc", "bs", "D"],
        ),
      ),
    );
    const past = "E.What has been cannot be changed: continue to the present first";
    const stopped = "T05thread:1;";
    assertEquals(heard, [
      ...["", "", "", stopped, stopped, past, past, past, past],
      ...["OK", "01000000", stopped, "OK", "OK", stopped, "E16", "02000000"],
      ...["T05thread:1;replaylog:begin;", "T05thread:1;replaylog:begin;", "OK"],
    ]);
    // Whoever lets go in the past leaves the guest in the present.
    assertEquals([vm.registers.ax, vm.lastExit?.reason], [2, "HLT"]);
  },
);

Deno.test(
  requires(STEPS, "Ctrl-C ends a way back, and gdb that is gone in the middle of one does"),
  async () => {
    const before = openHandles();
    {
      using vm = boot(COUNTS);
      vm.run();
      const heard = await served(vm, [
        { send: framed("bc") },
        { send: "\x03", until: "T02.*#", idle: 50 },
        ...saying("p3", "D"),
      ]);
      assertEquals(packetsIn(heard), ["T02thread:1;", "07000000", "OK"]);
      await served(vm, [{ send: framed("bc"), idle: 10 }, { send: "", idle: 50 }]);
      assertEquals([vm.registers.bx, vm.lastExit?.reason], [7, "HLT"]);
    }
    assertEquals(openHandles(), before);
  },
);

Deno.test(
  requires(STEPS, "where Ctrl-C stopped a guest that ran free, nobody can go back from"),
  async () => {
    using vm = boot(SPINS);
    const heard = packetsIn(
      await served(vm, [
        { send: framed("vCont;c") },
        { send: "\x03", until: "T02.*#", idle: 50 },
        ...saying("bs").map((each) => ({ ...each, until: "T00.*#" })),
        ...saying("D"),
      ]),
    );
    const [, words, stop] = heard;
    const text = new TextDecoder().decode(
      Uint8Array.from(words.slice(1).match(/../g)!, (each) => parseInt(each, 16)),
    );
    assertStringIncludes(text, "nobody knows at which instruction behind exit 0 that was");
    assertEquals(stop, "T00thread:1;");
  },
);
