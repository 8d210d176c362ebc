import { asm, boot, type BootOptions, type Machine, requires } from "@vmexit/vmexit";
import {
  type Device,
  type DeviceBoard,
  type InterruptLine,
  TestClock,
} from "@vmexit/vmexit/devices";
import { KVM_STATE_NESTED } from "@vmexit/vmexit/abi";
import { MSRS } from "@vmexit/vmexit/x86";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { CPU_PIECES } from "../../../lib/machine/snapshot/cpu_state.ts";
import { wholeState } from "./whole_state.ts";

/** How a row of the table is shown: what is changed behind a snapshot, and what must be as it was before. */
interface Row {
  readonly options?: () => BootOptions;
  /** What the guest executes; nothing but HLT where it is left out. */
  readonly guest?: ReturnType<typeof asm>;
  /** What comes before the snapshot. */
  readonly before?: (vm: Machine) => void;
  readonly change: (vm: Machine) => void;
  readonly look: (vm: Machine) => unknown;
  /** Whether it comes back. */
  readonly isRestored: boolean;
  readonly needs?: Parameters<typeof requires>[0];
}

/** A device with all that a board has for it. */
class Toy implements Device {
  readonly name = "toy";
  count = 0;
  line!: InterruptLine;
  #board!: DeviceBoard;
  #plan: Disposable | undefined;
  attach(board: DeviceBoard) {
    this.#board = board;
    this.line = board.interruptLine(5);
    this.#plan = board.timers.at(1000, () => void this.count++);
  }
  save() {
    return { count: this.count, next: this.#board.timers.next };
  }
  restore(state: unknown) {
    const { count, next } = state as ReturnType<Toy["save"]>;
    this.count = count;
    this.#plan?.[Symbol.dispose]();
    this.#plan = next === undefined
      ? undefined
      : this.#board.timers.at(next, () => void this.count++);
  }
  get now() {
    return this.#board.timers.now;
  }
  get next() {
    return this.#board.timers.next;
  }
}
let clock: TestClock;
let toy: Toy;
let counter: ReturnType<typeof counting>;
let others: readonly ReturnType<typeof counting>[];

/** A handler of accesses, or of exits, with state of its own. */
function counting() {
  const handler = {
    count: 0,
    save: () => handler.count,
    restore: (state: unknown) => void (handler.count = state as number),
    read: () => ++handler.count,
    answer: () => void handler.count++,
  };
  return handler;
}

/** All MSRs that a vCPU has and that can be set, but for what counts time. */
const msrsOf = (vm: Machine) =>
  [
    ...vm.msrs.list().map(({ index }) => index),
    ...Array.from({ length: 16 }, (_, index) => 0x200 + index),
    MSRS.IA32_MTRR_DEF_TYPE,
    MSRS.IA32_MTRR_FIX64K_00000,
    ...[0, 2, 3].map((register) => 0x400 + register),
  ].filter((index) =>
    index !== MSRS.IA32_TSC && !(index >= 0x4000_0000 && index <= 0x4000_1fff) &&
    index !== MSRS.KVM_WALL_CLOCK && index !== MSRS.KVM_WALL_CLOCK_NEW
  );

/** Tries values until MSRs are others than they were, one by one, and gives how many are. */
function changeMsrs(vm: Machine): number {
  let changed = 0;
  for (const index of msrsOf(vm)) {
    const before = vm.msrs.get(index);
    for (
      const value of [before ^ 1n, before ^ 0x6n, before ^ 0x1000n, before ^ 0x10000n, 0x7fff_f000n]
    ) {
      const [{ refused }] = vm.msrs.setEach({ [index]: value });
      if (refused === undefined && vm.msrs.get(index) !== before) {
        changed++;
        break;
      }
    }
  }
  return changed;
}

const ROWS: Readonly<Record<string, Row>> = {
  "memory of all slots, ROM too, RAM behind ROM, what the A20 gate hides": {
    options: () => ({
      memory: "2M",
      slots: [{ gpa: 0x40_0000, size: "8K", readonly: true, content: "ROM" }],
    }),
    change(vm) {
      for (const at of [0x5000, 0x10_5000, 0x40_0000, 0x40_1000]) vm.memory.write(at, "changed");
    },
    look: (vm) => wholeState(vm).memory,
    isRestored: true,
  },
  "general, special and debug registers, x87, SSE, AVX and all else of the XSAVE area, XCR0": {
    change(vm) {
      vm.registers.set({ rax: 1n, rip: 0x1234n, cr2: 5n, dr0: 0x1000n, mxcsr: 0x1f00 });
      vm.registers.gdt.base = 0x777n;
      vm.registers.xmm0.u32 = [1, 2, 3, 4];
      vm.kvm.vcpu.fpu.setXcrs([{ xcr: 0, value: 3n }]);
    },
    look: (vm) => wholeState(vm).cpus,
    isRestored: true,
  },
  "MSRs that KVM lists, the MTRRs, the machine-check banks": {
    change(vm) {
      const changed = changeMsrs(vm);
      assert(changed > 25, `${changed} were changed`);
    },
    look: (vm) => msrsOf(vm).map((index) => [index.toString(16), vm.msrs.get(index)]),
    isRestored: true,
  },
  "the TSC": {
    before: (vm) => vm.msrs.set({ IA32_TSC: 2n ** 43n }),
    change: (vm) => vm.msrs.set({ IA32_TSC: 2n ** 50n }),
    look: (vm) => Number(vm.msrs.get("IA32_TSC") >> 40n),
    isRestored: true,
  },
  "local APICs with their timers, PICs, IOAPIC, PIT": {
    options: () => ({ irqchip: true, pit: true }),
    change({ kvm: { vm, vcpu }, interrupts }) {
      const registers = vcpu.apic.getLapic();
      registers[0xf1] |= 1; // the software enable of the spurious interrupt vector register
      registers[0x80] = 0x40; // the task priority
      vcpu.apic.setLapic(registers);
      interrupts.raise(3);
      const ioapic = vm.interrupts.getIrqchip(2);
      ioapic.chip.ioapic.redirtbl[5].fields.vector = 0x55;
      vm.interrupts.setIrqchip(ioapic);
      const pit = vm.pit.getPit2();
      pit.channels[2].count = 0x4321;
      vm.pit.setPit2(pit);
    },
    look({ localApic, interrupts, kvm }) {
      const { count, mode } = kvm.vm.pit.getPit2().channels[2];
      return [localApic, interrupts.pic, interrupts.ioapic, count, mode];
    },
    isRestored: true,
  },
  "kvmclock": {
    before(vm) {
      vm.msrs.set({ KVM_SYSTEM_TIME_NEW: 0x8001n });
      vm.kvm.vm.clock.setClock({ clock: 3_000_000_000_000n });
    },
    change: (vm) => vm.kvm.vm.clock.setClock({ clock: 9_000_000_000_000n }),
    look: (vm) => Number(vm.kvm.vm.clock.getClock().clock / 1_000_000_000_000n),
    isRestored: true,
  },
  "pending exceptions, interrupts, NMIs, SMIs; system-management mode; whether a CPU waits": {
    options: () => ({ irqchip: true }),
    change(vm) {
      vm.inject.nmi();
      vm.inject.exception("#DE");
      vm.mpState = "HALTED";
    },
    look: (vm) => [vm.events, vm.mpState],
    isRestored: true,
  },
  "a guest hypervisor's guest": {
    needs: { svm: true },
    options: () => ({ mode: "long" }),
    before(vm) {
      vm.registers.efer.svme = true;
    },
    change({ kvm: { vcpu } }) {
      const { FORMAT_SVM: format } = KVM_STATE_NESTED;
      vcpu.nested.setNestedState({ format, flags: 0, hdr: { svm: {} } }); // GIF is clear
    },
    look: ({ kvm: { vcpu } }) => vcpu.nested.getNestedState().flags,
    isRestored: true,
  },
  "devices on the board, by their `save` and `restore`; their lines, timers, and events": {
    options: () => ({ irqchip: true, clock, devices: [toy] }),
    change(vm) {
      toy.count = 7;
      toy.line.set(true);
      clock.advance(5000);
      vm.step();
    },
    look: (vm) => [toy.count, toy.next, vm.interrupts.pic.master.irr],
    isRestored: true,
    needs: { singleStep: true },
  },
  "handlers of ports and addresses with `save` and `restore` of their own": {
    guest: asm`
      in al, 0x60
      in al, 0x60
      hlt
    `,
    before(vm) {
      vm.ports.on(0x60, counter);
      vm.mmio.on(0xe000_0000, counter);
    },
    change: (vm) => void vm.run(),
    look: () => counter.count,
    isRestored: true,
  },
  "handlers of exits and MSRs with `save` and `restore` of their own": {
    options: () => ({ mode: "long" }),
    guest: asm`
      bits 64
      hlt
      mov ecx, 0x12345
      rdmsr
      mov ecx, 0x23456
      rdmsr
      out 0x80, al
    `,
    before(vm) {
      vm.ports.on(0x80, { write: () => vm.stop() });
      vm.on("HLT", counter);
      vm.msrs.on(0x12345, others[0]);
      vm.msrs.onUnknown(others[1]);
    },
    change: (vm) => void vm.run(),
    look: () => [counter, ...others].map(({ count }) => count),
    isRestored: true,
  },
  "the board's time": {
    options: () => ({ clock, devices: [toy] }),
    before: () => clock.advance(123),
    change: () => clock.advance(1_000_000),
    look: () => [toy.now, clock.nanoseconds],
    isRestored: true,
  },
  "`vm.log`, `vm.portOutput`, `vm.serial`, `vm.exitStatus`, `vm.lastExit`, `vm.fault`": {
    options: () => ({ exitPort: 0xf4, catchFaults: true, mode: "protected" }),
    guest: asm`
      bits 32
      mov al, 'x'
      mov dx, 0x3f8
      out dx, al
      out 0x80, al
      ud2
    `,
    before: (vm) => void vm.ports.on(0x80, { write: () => {} }),
    change: (vm) => void assertThrows(() => vm.run()),
    look: (vm) => [
      vm.log.records(),
      vm.portOutput.bytes(0x80),
      vm.serial.text,
      vm.exitStatus,
      vm.lastExit,
      vm.hasRun,
      vm.fault?.summary,
    ],
    isRestored: true,
  },
  "`vm.memory.dirty()`": {
    options: () => ({ dirtyPages: "log" }),
    guest: asm`
      inc byte [0x4000]
      hlt
    `,
    change: (vm) => void vm.run(),
    look: (vm) => vm.memory.dirty({ keep: true }),
    isRestored: true,
  },
  "what was injected and not taken": {
    before: (vm) => vm.inject.interrupt(0x40),
    change(vm) {
      vm.inject.interrupt(0x41);
      vm.inject.window();
    },
    look: (vm) => [...vm.inject.waiting],
    isRestored: true,
  },
  "whose turn it is among several CPUs, and the random numbers of `interleaving`": {
    needs: { singleStep: true },
    options: () => ({ cpus: [{}, {}], interleaving: { seed: 5 }, exitPort: 0xf4 }),
    guest: asm`
      mov cx, 4
    again:
      out 0x80, al
      loop again
    idle:
      hlt
      jmp idle
    `,
    before: (vm) => void vm.ports.on(0x80, { write: () => {} }),
    change: (vm) => void vm.run(),
    look: (
      vm,
    ) => [vm.log.records().map(({ cpu }) => cpu), vm.cpus.map(({ registers }) => registers.cx)],
    isRestored: true,
  },
  "breakpoints, watchpoints": {
    change: (vm) => void vm.debug.breakAt(0x1234, { by: "step" }),
    look(vm) {
      vm.registers.rip = 0x1230n;
      vm.memory.write(0x1230, [0x90, 0x90, 0x90, 0x90, 0xf4]);
      vm.registers.cs.base = 0n;
      return vm.run().reason;
    },
    isRestored: false,
    needs: { singleStep: true },
  },
  "handlers, notifications, coalesced ranges, MSR filters, routes of interrupts, eventfds": {
    change(vm) {
      vm.ports.on(0x70, counter);
      vm.ports.notify(0x71);
      vm.msrs.deny("LSTAR");
    },
    look(vm) {
      const taken = (body: () => Disposable) => {
        try {
          body()[Symbol.dispose]();
          return false;
        } catch {
          return true;
        }
      };
      return [taken(() => vm.ports.on(0x70, counter)), taken(() => vm.ports.notify(0x71))];
    },
    isRestored: false,
  },
};

/** Those of which this page has no test of its own, and why. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "memory slots": "a restore is refused: snapshot_test.ts",
  "time limits, options of the machine": "nothing changes them",
};

for (const [name, row] of Object.entries(ROWS)) {
  const { options, guest = asm`hlt`, before, change, look, isRestored, needs = {} } = row;
  const what = `${name}: ${isRestored ? "as it was then" : "stays as it is"}`;
  Deno.test(requires(needs, what), () => {
    clock = new TestClock();
    toy = new Toy();
    counter = counting();
    others = [counting(), counting()];
    using vm = boot(guest, options?.());
    before?.(vm);
    const snapshot = vm.snapshot();
    const then = isRestored ? look(vm) : undefined;
    for (let again = 0; again < 2; again++) {
      if (isRestored || again === 0) change(vm);
      if (isRestored) assertNotEquals(look(vm), then, "nothing was changed");
      const changed = isRestored ? undefined : look(vm);
      vm.restore(snapshot);
      assertEquals(look(vm), isRestored ? then : changed);
    }
  });
}

Deno.test("the page of snapshots has the same table", () => {
  const page = Deno.readTextFileSync(new URL("../../../docs/snapshots.md", import.meta.url));
  const rows = [...page.matchAll(/^\| (.+?) +\| (yes|no) +\|/gm)].map(([, name, is]) => [name, is]);
  assertEquals(
    Object.fromEntries(rows),
    {
      ...Object.fromEntries(
        Object.entries(ROWS).map(([name, { isRestored }]) => [name, isRestored ? "yes" : "no"]),
      ),
      ...Object.fromEntries(Object.keys(ELSEWHERE).map((name) => [name, "no"])),
    },
  );
});

Deno.test("a CPU's state is restored in an order in which nothing undoes what came before it", () => {
  const order = CPU_PIECES.map(({ name }) => name);
  const pairs = [
    ["outside of nested guests", "special registers"],
    ["special registers", "general registers"],
    ["special registers", "local APIC"],
    ["general registers", "events"],
    ["XCR0", "XSAVE area"],
    ["local APIC", "MSRs"],
    ["MSRs", "nested guest"],
    ["events", "nested guest"],
    ["nested guest", "MP state"],
  ];
  for (const [first, second] of pairs) {
    assert(order.includes(first) && order.includes(second));
    assert(order.indexOf(first) < order.indexOf(second), `${first} comes before ${second}`);
  }
  assertEquals(order.at(-1), "MP state");
});
