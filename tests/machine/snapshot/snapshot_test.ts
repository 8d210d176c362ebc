import { emulatedMachineName } from "../../../lib/machine/host/emulated_machine.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { asm, boot, type Machine, type Snapshot } from "@vmexit/vmexit";
import type { Device, InterruptController, InterruptLine } from "@vmexit/vmexit/devices";
import { kvmLibc, type Libc } from "@vmexit/vmexit/kvm";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { withoutSyncRegs } from "../injected_libc.ts";

const COUNTER = asm`
    mov cx, 5
  again:
    inc word [0x900]
    mov ax, [0x900]
    mov dx, 0x3f8
    add al, '0'
    out dx, al
    loop again
    hlt
`;

/** What a test can see of a machine that a run changes. */
function look(vm: Machine) {
  return {
    serial: vm.serial.text,
    log: vm.log.records(),
    memory: vm.memory.read(0, 0x10000),
    registers: (["rax", "rcx", "rdx", "rip"] as const).map((name) => vm.registers[name]),
    output: vm.portOutput.bytes(0x3f8),
    lastExit: vm.lastExit,
    hasRun: vm.hasRun,
  };
}

/** The C library of a KVM, which notes the calls of the kernel by name. */
function watched(): { libc: Libc; calls: string[] } {
  const real = kvmLibc();
  const names = new Map(Object.entries(IOCTLS).map(([name, { number }]) => [number, name]));
  const calls: string[] = [];
  const libc: Libc = {
    ...real,
    ioctl(fd, request, argument) {
      calls.push(names.get(request)!);
      return real.ioctl(fd, request, argument);
    },
    ioctlBuffer(fd, request, bytes) {
      calls.push(names.get(request)!);
      return real.ioctlBuffer(fd, request, bytes);
    },
  };
  for (
    const name of ["open", "close", "read", "write", "pread", "lseek", "mmap", "munmap"] as const
  ) {
    const call = real[name] as (...args: unknown[]) => unknown;
    Object.assign(libc, {
      [name](...args: unknown[]) {
        calls.push(name);
        return call(...args);
      },
    });
  }
  return { libc, calls };
}

Deno.test("a restored machine runs again as it ran before", () => {
  using vm = boot(COUNTER);
  const start = vm.snapshot();
  const atStart = look(vm);
  for (let count = 0; count < 4; count++) vm.step();
  const middle = vm.snapshot();
  const atMiddle = look(vm);
  vm.run();
  const end = vm.snapshot();
  const atEnd = look(vm);
  assertEquals(atEnd.serial, "12345");
  for (const [snapshot, then] of [[middle, atMiddle], [start, atStart], [end, atEnd]] as const) {
    vm.restore(snapshot);
    assertEquals(look(vm), then);
  }
  for (const snapshot of [start, middle, start]) {
    vm.restore(snapshot);
    vm.run();
    const [again, first] = [look(vm), atEnd];
    // The steps are exits of their own.
    assertEquals({ ...again, log: [] }, { ...first, log: [] });
    if (snapshot === middle) assertEquals(again.log, first.log);
  }
});

const BY_IOCTL = ["KVM_SET_SREGS", "KVM_SET_REGS", "KVM_SET_VCPU_EVENTS"];

Deno.test.each([
  ["registers left in kvm_run", true],
  ["registers set by ioctls, where the kernel has no KVM_CAP_SYNC_REGS", false],
])(
  "a restore is few calls of the kernel, and writes the pages that were written: %s",
  (_, takes) => {
    const { libc: all, calls } = watched();
    const libc = takes ? all : withoutSyncRegs(all);
    using vm = boot(
      asm`
      mov di, 0x4000
      mov cx, 16
    again:
      inc byte [di]
      add di, 0x1000
      loop again
      hlt
    `,
      { libc, memory: "256K" },
    );
    const start = vm.snapshot();
    vm.run();
    vm.restore(start);
    vm.run();
    assertEquals(vm.memory.u8(0x8000), 1);
    calls.length = 0;
    vm.restore(start);
    assertEquals([...calls], [
      // Whether it has run a guest of its own, which would have to be left first, and of what kinds its exits were.
      "pread",
      "KVM_GET_DIRTY_LOG",
      ...vm.cpuid.has("vmx") ? ["KVM_SET_NESTED_STATE"] : [],
      ...takes ? [] : BY_IOCTL.slice(0, 2),
      // MXCSR, which the state of a CPU that has not used SSE does not bring in.
      "KVM_SET_XSAVE",
      "KVM_SET_XSAVE",
      "KVM_SET_MSRS",
      "KVM_SET_DEBUGREGS",
      ...takes ? [] : BY_IOCTL.slice(2),
    ]);
    assertEquals(vm.memory.u8(0x8000), 0);
    calls.length = 0;
    vm.run();
    assertEquals(calls.filter((name) => BY_IOCTL.includes(name)), []);
    assertEquals(vm.memory.u8(0x8000), 1);
  },
);

Deno.test.each([
  ["registers left in kvm_run", true],
  ["registers set by ioctls, where the kernel has no KVM_CAP_SYNC_REGS", false],
])("whoever looks between a restore and the next run sees what was then: %s", (_, takes) => {
  const all = kvmLibc();
  const libc = takes ? all : withoutSyncRegs(all);
  using vm = boot(
    asm`
      mov word [6 * 4], handler   ; #UD
      mov word [6 * 4 + 2], 0
      mov ax, 0x123
      mov ds, ax
      mov cx, 1
      hlt
      inc cx
      hlt
    handler:
      mov bx, 0x5678
      hlt
    `,
    { libc },
  );
  vm.run();
  vm.inject.exception("#UD");
  const start = vm.snapshot();
  const rip = vm.registers.rip;
  const looks: readonly (readonly [() => unknown, unknown])[] = [
    [() => undefined, undefined],
    [() => [vm.registers.cx, vm.registers.bx, vm.registers.rip], [1, 0, rip]],
    [() => vm.registers.ds.base, 0x1230n],
    [() => vm.kvm.vcpu.registers.getRegs().rip, rip],
    [() => vm.kvm.vcpu.registers.getSregs().ds.selector, 0x123],
    [() => vm.kvm.vcpu.events.getVcpuEvents().exception.nr, 6],
    [() => vm.registers.cx = 7, 7],
  ];
  for (const [look, then] of looks) {
    vm.restore(start);
    vm.run();
    assertEquals([vm.registers.bx, vm.registers.cx], [0x5678, 1]);
    vm.registers.set({ ecx: 99, ds: { selector: 0, base: 0n } });
    vm.restore(start);
    assertEquals(look(), then);
    vm.run();
    // The exception that waited was taken, with all else as it was, but for what was set.
    assertEquals([vm.registers.bx, vm.registers.cx], [0x5678, then === 7 ? 7 : 1]);
    assertEquals(vm.registers.ds.base, 0x1230n);
  }
});

Deno.test("what a guest changes by an exit alone is restored behind one, or when the test has changed it", () => {
  const { libc, calls } = watched();
  using vm = boot(
    asm`
      bits 64
      jmp plain
    setMtrr:
      mov ecx, 0x2ff              ; IA32_MTRR_DEF_TYPE
      mov eax, 0xc06
      xor edx, edx
      wrmsr
    plain:
      inc qword [0x9000]
      out 0x80, al
      hlt
    setXcr0:
      xor ecx, ecx
      mov eax, 3
      xor edx, edx
      xsetbv
      hlt
    `,
    {
      libc,
      ports: { 0x80: { write: () => {} } },
      registers: { cr4: { osfxsr: true, osxsave: true } },
    },
  );
  const look = () => [vm.msrs.get("IA32_MTRR_DEF_TYPE"), vm.registers.xcr0.value];
  const before = look();
  assertEquals(before[1], 1n);
  const start = vm.snapshot();
  // Before it was nothing known of nested guests.
  vm.restore(start);
  const isSet = (entry: string) => {
    vm.registers.rip = entry;
    vm.run();
    calls.length = 0;
    vm.restore(start);
    const count = calls.filter((name) => /KVM_SET_(MSRS|XCRS)/.test(name)).length;
    assertEquals(look(), before, entry);
    assertEquals(vm.memory.u64(0x9000), 0n);
    return count;
  };
  // KVM does not see an XSETBV of its guest in QEMU.
  const xsetbv = emulatedMachineName()?.startsWith("qemu") ? 1 : 3;
  assertEquals(
    ["plain", "setMtrr", "plain", "setXcr0", "plain"].map(isSet),
    [1, 3, 1, xsetbv, 1],
  );

  vm.msrs.set({ IA32_MTRR_DEF_TYPE: 0xc06 });
  vm.restore(start);
  assertEquals(look(), before);
  vm.registers.xcr0 = 3;
  vm.run();
  vm.restore(start);
  assertEquals(look(), before);

  vm.msrs.set({ IA32_MTRR_DEF_TYPE: 0xc06 });
  const other = vm.snapshot();
  for (const [snapshot, value] of [[start, before[0]], [other, 0xc06n]] as const) {
    vm.restore(snapshot);
    assertEquals(look()[0], value);
  }
});

Deno.test("what the test has written to memory since is undone as well", () => {
  using vm = boot(asm`hlt`, { memory: "256K" });
  const view = vm.memory.view(0x8ff0, 0x20);
  vm.memory.write(0x5000, "before");
  const start = vm.snapshot();
  view.fill(7);
  vm.memory.write(0x5000, "behind");
  vm.memory.write(0x6000, "behind");
  vm.linear.write(0x7000, "behind");
  vm.restore(start);
  assertEquals(vm.memory.string(0x5000), "before");
  assertEquals([0x6000, 0x7000].map((at) => vm.memory.u32(at)), [0, 0]);
  assertEquals(view, new Uint8Array(0x20));
  view[0] = 1;
  vm.memory.slots[0].bytes[0x3_0000] = 1;
  vm.restore(start);
  assertEquals([view[0], vm.memory.u8(0x3_0000)], [0, 0]);
});

Deno.test("a snapshot keeps the pages that were ever written, and shares those that were not written since", () => {
  using vm = boot(
    asm`
      inc byte [0x8000]
      hlt
    `,
    { memory: "64M" },
  );
  const first = vm.snapshot();
  vm.run();
  const second = vm.snapshot();
  assertEquals(first.pages < 8, true, `${first.pages} pages`);
  assertEquals(second.pages, first.pages + 1);
});

Deno.test("code that was overwritten since is there again, and runs", () => {
  using vm = boot(asm`
    mov al, 1
    mov byte [0x700], 0xb0    ; mov al, 2
    mov byte [0x701], 2
    mov byte [0x702], 0xf4    ; hlt
    jmp 0:0x700
  `);
  vm.memory.write(0x700, [0xb0, 9, 0xf4]);
  const start = vm.snapshot();
  for (let run = 0; run < 2; run++) {
    vm.registers.rip = 0x700n;
    vm.registers.cs.base = 0n;
    vm.run();
    assertEquals(vm.registers.al, 9);
    vm.restore(start);
    vm.run();
    assertEquals(vm.registers.al, 2);
    vm.restore(start);
    assertEquals(vm.memory.read(0x700, 3), Uint8Array.of(0xb0, 9, 0xf4));
  }
});

Deno.test("a guest that waits for an answer is brought back; a snapshot of it is refused", () => {
  using vm = boot(asm`
    mov cx, 3
    mov di, 0x800
    mov dx, 0x50
    rep insb
    in  al, dx
    out dx, al
    hlt
  `);
  const start = vm.snapshot();
  for (let run = 0; run < 2; run++) {
    for (const { exit } of vm.exits()) {
      assertEquals(exit.reason, "IO");
      assertThrows(() => vm.snapshot(), TypeError, "waits for its answer. Give it one");
      break;
    }
    vm.restore(start);
    assertEquals([vm.registers.rcx, vm.memory.u32(0x800)], [0n, 0]);
  }
  vm.ports.on(0x50, { read: () => 0x41, write: () => vm.stop() });
  vm.run();
  assertEquals(vm.memory.read(0x800, 4), Uint8Array.of(0x41, 0x41, 0x41, 0));
  vm.restore(start);
  vm.run();
  assertEquals(vm.memory.read(0x800, 4), Uint8Array.of(0x41, 0x41, 0x41, 0));
});

Deno.test("what is no snapshot of the machine, or comes at the wrong time, is refused before KVM is asked", () => {
  const { libc, calls } = watched();
  using vm = boot(
    asm`
      out 0x10, al
      in al, 0x11
      hlt
    `,
    { libc, memory: "64K" },
  );
  using other = boot(asm`hlt`);
  const start = vm.snapshot();
  const foreign = other.snapshot();
  calls.length = 0;
  const refused = (snapshot: unknown, kind: ErrorConstructor, message: string) => {
    const error = assertThrows(() => vm.restore(snapshot as Snapshot), kind, message);
    assertEquals(error.stack!.split("\n")[1].includes("snapshot_test.ts"), true, error.stack);
  };
  refused(foreign, TypeError as ErrorConstructor, "it is another machine's");
  refused(undefined, TypeError as ErrorConstructor, "a value of type undefined");
  refused({}, TypeError as ErrorConstructor, "give what vm.snapshot() returned");
  assertEquals(calls, []);
  let inHandler = 0;
  vm.ports.on(0x10, {
    write() {
      assertThrows(() => vm.restore(start), TypeError, "the machine is running");
      assertThrows(() => vm.snapshot(), TypeError, "the machine is running");
      inHandler++;
    },
  });
  vm.ports.on(0x11, { read: () => 1 });
  vm.run();
  assertEquals(inHandler, 1);
  const slot = vm.memory.addSlot({ gpa: 0x10_0000, size: "4K" });
  refused(start, RangeError as ErrorConstructor, "slot 1 at 0x100000–0x100fff");
  const moved = vm.memory.moveSlot(slot, 0x20_0000);
  const later = vm.snapshot();
  refused(start, RangeError as ErrorConstructor, "memory slots are not those that it had then");
  vm.memory.moveSlot(moved, 0x30_0000);
  refused(later, RangeError as ErrorConstructor, "slot 1 at 0x200000–0x200fff");
  vm.memory.deleteSlot(vm.memory.slots[1]);
  vm.restore(start);
  other[Symbol.dispose]();
  assertThrows(() => other.restore(foreign), TypeError, "the machine is disposed");
  assertThrows(() => other.snapshot(), TypeError, "the machine is disposed");
});

Deno.test("a controller without state of its own is told which lines are asserted again", () => {
  const told: string[] = [];
  let line!: InterruptLine;
  const controller: Device & InterruptController = {
    name: "a controller",
    hasInterrupt: false,
    acknowledge: () => 0,
    attach(board) {
      board.connectInterruptController(controller);
      line = board.interruptLine(6);
    },
    setLine: (irq, asserted) => void told.push(`${irq} ${asserted}`),
  };
  using vm = boot(asm`hlt`, { devices: [controller] });
  const low = vm.snapshot();
  line.set(true);
  const high = vm.snapshot();
  vm.restore(low);
  vm.restore(low);
  vm.restore(high);
  line.set(false);
  assertEquals(told, ["6 true", "6 false", "6 true", "6 false"]);
});
