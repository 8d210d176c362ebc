import {
  asm,
  boot,
  exit,
  expect,
  hlt,
  HostError,
  portOut,
  requires,
  TimeLimitError,
} from "@vmexit/vmexit";
import { IOCTLS, kvm_guest_debug, KVM_GUESTDBG, type KvmGuestDebug } from "@vmexit/vmexit/abi";
import { debugRegisters } from "@vmexit/vmexit/x86";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { emulatedMachineName } from "../../lib/machine/host/emulated_machine.ts";
import { injected } from "../machine/injected_libc.ts";

/** QEMU loads DR7 at VMRUN without putting it in force, and raises int3 past the intercept of #BP. */
const onQemu = emulatedMachineName() === "qemu-svm";
const BREAKPOINTS = { breakpoints: true };
const STEPS = { singleStep: true };

const countdown = () =>
  boot(asm`
    mov cx, 3
  again:
    dec cx
    jnz again
  done:
    hlt
  `);

Deno.test(requires(STEPS, "DEBUG: a step, through the transcript"), () => {
  using vm = countdown();
  vm.kvm.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
  const start = BigInt(vm.image.entry);
  expect(vm).toExit([
    exit("DEBUG", { exception: 1, pc: start + 3n, dr6: (dr6) => (dr6 & 0x4000n) !== 0n }),
    exit("DEBUG", { pc: start + 4n }),
  ]);
});

Deno.test(
  requires(STEPS, "DEBUG: a breakpoint by steps stops at its instruction each time, and counts"),
  () => {
    using vm = countdown();
    using again = vm.debug.breakAt("again", { by: "step" });
    const seen: number[] = [];
    while (vm.run().reason === "DEBUG") seen.push(vm.registers.cx);
    assertEquals([seen, again.hits, again.address], [[3, 2, 1], 3, 0x503n]);
  },
);

Deno.test(
  requires(STEPS, "a breakpoint that is disposed stops nothing, and step and run go on past one"),
  () => {
    using vm = countdown();
    {
      using _ = vm.debug.breakAt("again", { by: "step" });
      assertEquals(vm.run().reason, "DEBUG");
      assertEquals(vm.step().reason, "DEBUG");
      assertEquals([vm.registers.cx, vm.registers.rip], [2, 0x504n]);
      assertEquals(vm.run().reason, "DEBUG");
      assertEquals([vm.registers.cx, vm.registers.rip], [2, 0x503n]);
    }
    assertEquals(vm.run().reason, "HLT");
  },
);

Deno.test(
  requires(STEPS, "breakpoints by steps let exits through: a device's, a transcript's, the halt"),
  () => {
    using vm = boot(asm`
    mov al, 'a'
  here:
    out 0x10, al
    in al, 0x11
    out 0x12, al
    hlt
  `);
    vm.ports.on(0x11, { read: () => 0x21 });
    using here = vm.debug.breakAt("here", { by: "step" });
    expect(vm).toExit([
      exit("DEBUG", { pc: 0x502n }),
      portOut(0x10, "a"),
      portOut(0x12, "!"),
      hlt(),
    ]);
    assertEquals(here.hits, 1);
  },
);

Deno.test(
  requires(STEPS, "a guest that never comes to its breakpoint is ended by the time limit"),
  () => {
    using vm = boot(asm`
    jmp $
  there:
    hlt
  `);
    using there = vm.debug.breakAt("there", { by: "step" });
    assertThrows(() => vm.run({ timeout: 20 }), TimeLimitError);
    assertEquals(there.hits, 0);
    vm.registers.rip = there.address;
    assertEquals(vm.run().reason, "HLT");
  },
);

Deno.test("DEBUG: KVM reports a debug register's breakpoint at an instruction that it emulates", () => {
  using vm = boot(asm`
    mov si, 0x600
    mov dx, 0x10
    outsb
    hlt
  `);
  const address = BigInt(vm.image.entry) + 6n;
  const registers = debugRegisters([{ address, size: 1, on: "execute" }]);
  vm.kvm.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.USE_HW_BP, registers);
  expect(vm).toExit([
    exit("DEBUG", { exception: 1, pc: address, dr6: (dr6) => (dr6 & 0xfn) === 1n }),
  ]);
  vm.kvm.vcpu.setGuestDebug(0);
  expect(vm).toExit([portOut(0x10), hlt()]);
});

/** Runs `body` as outside an emulated machine, where debug registers are not refused. */
function asOnHardware(body: () => void): void {
  const name = Deno.env.get("VMEXIT_NESTED");
  Deno.env.set("VMEXIT_NESTED", "");
  try {
    body();
  } finally {
    if (name === undefined) Deno.env.delete("VMEXIT_NESTED");
    else Deno.env.set("VMEXIT_NESTED", name);
  }
}

Deno.test(
  requires(
    STEPS,
    "DEBUG: a breakpoint by a register stops at each time round, and lets the guest pass",
  ),
  () => {
    using vm = boot(asm`
      mov si, text
      mov cx, 3
      mov dx, 0x10
    again:
      outsb                       ; KVM emulates it, and looks for breakpoints itself
      loop again
      hlt
    text: db "abc"
    `);
    let written = "";
    vm.ports.on(0x10, { write: (_port, value) => void (written += String.fromCharCode(value)) });
    asOnHardware(() => {
      using again = vm.debug.breakAt("again");
      const seen: string[] = [];
      while (vm.run().reason === "DEBUG") seen.push(written);
      assertEquals([seen, written, again.hits], [["", "a", "ab"], "abc", 3]);
    });
  },
);

Deno.test("the CPU has 4 breakpoints, and a fifth is refused until one is disposed", () => {
  using vm = countdown();
  asOnHardware(() => {
    const [first] = [0x100, 0x200, 0x300, 0x400].map((at) => vm.debug.watch(at, { size: 4 }));
    assertThrows(() => vm.debug.breakAt("again"), RangeError, "the CPU has 4, DR0 to DR3");
    first[Symbol.dispose]();
    using _ = vm.debug.breakAt("again");
  });
});

Deno.test(
  requires(
    BREAKPOINTS,
    "DEBUG: breakpoints by debug registers stop the guest, and it goes on past them",
  ),
  () => {
    using vm = countdown();
    using again = vm.debug.breakAt("again", { by: "register" });
    using done = vm.debug.breakAt("done", { by: "register" });
    const seen: (number | bigint)[] = [];
    while (vm.run().reason === "DEBUG") seen.push(vm.registers.cx);
    assertEquals([seen, again.hits, done.hits], [[3, 2, 1, 0], 3, 1]);
  },
);

Deno.test(
  requires(BREAKPOINTS, "DEBUG: a watchpoint stops behind the write, or the access"),
  () => {
    using vm = boot(asm`
    mov al, [0x700]
    mov byte [0x700], 5
    mov bl, [0x700]
    hlt
  `);
    const written = vm.debug.watch(0x700);
    assertEquals([vm.run().reason, vm.memory.u8(0x700)], ["DEBUG", 5]);
    assertEquals(written.hits, 1);
    written[Symbol.dispose]();
    using read = vm.debug.watch(0x700, { on: "access", size: 2 });
    assertEquals([vm.run().reason, vm.registers.bl, read.hits], ["DEBUG", 5, 1]);
    assertEquals(vm.run().reason, "HLT");
  },
);

Deno.test(requires(BREAKPOINTS, "DEBUG: int3 stops the guest, which takes no #BP"), () => {
  using vm = boot(asm`
    nop
    int3
    hlt
  `);
  using _ = vm.debug.stopAtInt3();
  expect(vm).toExit([exit("DEBUG", { exception: 3, pc: 0x501n })]);
  vm.registers.rip = 0x502n;
  assertEquals(vm.run().reason, "HLT");
});

Deno.test({
  name: "QEMU has breakpoints where the guest itself writes DR7, and not where VMRUN loads it",
  ignore: !onQemu,
  fn() {
    const code = asm`
      mov word [1 * 4], handler
      mov eax, target
      mov dr0, eax
      mov eax, 0x403
      mov dr7, eax
    target:
      nop
      hlt
    handler:
      mov bx, 0x1234
      xor eax, eax
      mov dr7, eax              ; or it would go on to stop other guests there
      hlt
    `;
    using own = boot(code);
    own.run();
    assertEquals(own.registers.bx, 0x1234);
    using kvms = boot(asm`
      nop
    target:
      nop
      hlt
    `);
    const address = BigInt(kvms.image.symbol("target"));
    const registers = debugRegisters([{ address, size: 1, on: "execute" }]);
    kvms.kvm.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.USE_HW_BP, registers);
    assertEquals(kvms.run().reason, "HLT");
  },
});

Deno.test({
  name:
    "in QEMU's nested machine what cannot stop a guest is refused, and a breakpoint steps by default",
  ignore: !onQemu,
  fn() {
    using vm = countdown();
    assertThrows(() => vm.debug.breakAt("again", { by: "register" }), HostError, "loads DR7 at");
    assertThrows(() => vm.debug.watch(0x700), HostError, 'give `by: "step"`');
    assertThrows(() => vm.debug.stopAtInt3(), HostError, "Cannot stop at int3: QEMU");
    using again = vm.debug.breakAt("again");
    assertEquals([vm.run().reason, again.hits], ["DEBUG", 1]);
  },
});

Deno.test("breakpoints: what cannot be is refused", () => {
  using vm = countdown();
  assertThrows(() => vm.debug.breakAt("agian"), RangeError, "again");
  assertThrows(() => vm.debug.breakAt(1.5), RangeError, "it is not a whole number");
  assertThrows(
    () => vm.debug.breakAt(-1, { by: "register" }),
    RangeError,
    "Cannot use -1 as a breakpoint's address",
  );
  assertThrows(() => vm.debug.breakAt(0, { by: "magic" as "step" }), RangeError, "break by magic");
  assertThrows(() => vm.debug.watch(0x701, { size: 2 }), RangeError, "that is a multiple of 2");
  assertThrows(() => vm.debug.watch(0x700, { size: 3 as 4 }), RangeError, "watch 3 bytes");
  assertThrows(
    () => vm.debug.watch(0x700, { on: "execute" as "write" }),
    RangeError,
    'Cannot watch for "execute"',
  );
  const disposed = countdown();
  disposed[Symbol.dispose]();
  assertThrows(
    () => disposed.debug.breakAt(0),
    TypeError,
    "Cannot set a breakpoint: the machine is disposed",
  );
  assertThrows(() => disposed.debug.stopAtInt3(), TypeError, "the machine is disposed");
});

Deno.test("what the kernel is told: nothing without breakpoints, all of them with, none at their end", () => {
  const given: KvmGuestDebug[] = [];
  const libc = injected((real) => ({
    ioctlBuffer(fd, request, bytes) {
      if (request === IOCTLS.KVM_SET_GUEST_DEBUG.number) {
        given.push(kvm_guest_debug.read(new DataView(bytes.buffer)));
      }
      return real.ioctlBuffer(fd, request, bytes);
    },
  }));
  using vm = boot(
    asm`
    nop
    hlt
    hlt
  `,
    { libc },
  );
  vm.run();
  assertEquals(given.length, 0);
  vm.step();
  assertEquals(given.map(({ control }) => control), [
    KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP,
    0,
  ]);
  assert(vm.lastExit?.reason === "HLT");
});
