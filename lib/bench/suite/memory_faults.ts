import { asm } from "../../guest/asm.ts";
import type { Machine } from "../../machine/machine.ts";
import type { Benchmark } from "../benchmark.ts";
import { requires } from "../../machine/host/requires.ts";
import type { LongOptions } from "../../machine/boot/boot_options.ts";
import { type GuestBenchmark, guestBenchmark, type RunHooks } from "./guest_benchmark.ts";
import { type MeasuredGuest, MeasuredMachine } from "./measured_guest.ts";
import { timedBenchmark } from "./timed.ts";

const PAGE = 0x1000;
const MIB = 0x10_0000;

/** How many pages a run touches. */
const PAGES = 256;
/**
 * Where they lie: far above main memory, inside the identity map, and one page off what a large page would need: KVM maps
 * such memory by pages of 4 KiB, whatever the host backs it with.
 */
const WINDOW = 0x2000_0000 + PAGE;
/** Main memory that the window shows where its pages are to be there already. */
const BACKING = 2 * MIB;
const MEMORY = BACKING + 2 * MIB;

/** A page that the guest maps itself, behind the identity map; its entry is the first of its table. */
const LINEAR = 0x4000_0000;
const PRESENT = 1;
const NO_EXECUTE_BIT = 63;
const PAGE_FAULT = 14;
const QUADWORD = 8;

/** Writes a byte to each page of the window. */
function toucher(options: LongOptions = {}): MeasuredGuest {
  return {
    prepare: asm`mov esi, ${WINDOW}`,
    operation: asm`
      mov [rsi], al
      add esi, ${PAGE}
    `,
    options: { memory: MEMORY, ...options },
  };
}

/** A slot in the window that is made anew for each run. */
function newSlot(vm: Machine, alias: number | undefined): RunHooks {
  let slot: ReturnType<typeof vm.memory.addSlot> | undefined;
  // The host has its pages from here on.
  vm.memory.write(BACKING, new Uint8Array(PAGES * PAGE).fill(1));
  return {
    before() {
      if (slot !== undefined) vm.memory.deleteSlot(slot);
      slot = vm.memory.addSlot({ gpa: WINDOW, size: PAGES * PAGE, alias });
    },
  };
}

const FAULTS: readonly GuestBenchmark[] = [
  {
    name: "page_fault",
    what: "a #PF inside the guest, whose handler makes the page present; INVLPG with it",
    interrupts: 1,
    guest: () => ({
      setup: asm`
        mov rbx, cr3
        and rbx, ${-PAGE}
        mov rbx, [rbx]
        btr rbx, ${NO_EXECUTE_BIT}
        and rbx, ${-PAGE}
        mov rbx, [rbx + ${QUADWORD}]
        btr rbx, ${NO_EXECUTE_BIT}
        and rbx, ${-PAGE}
        mov rbx, [rbx]
        btr rbx, ${NO_EXECUTE_BIT}
        and rbx, ${-PAGE}
        mov [entry], rbx
      `,
      prepare: asm`
        mov rbx, [entry]
        mov esi, ${LINEAR}
      `,
      operation: asm`
        and qword [rbx], ${~PRESENT}
        invlpg [rsi]
        mov [rsi], al
      `,
      routines: asm`
      on_page_fault:
        or qword [rbx], ${PRESENT}
        inc qword [taken]
        add rsp, ${QUADWORD}
        iretq
      entry: dq 0
      `,
      options: {
        gates: { [PAGE_FAULT]: "on_page_fault" },
        mappings: [{ linear: LINEAR, physical: MIB, size: PAGE, pageSize: "4K" }],
      },
    }),
  },
  {
    name: "npt_violation",
    what:
      "the first access to a page of a new memory slot (NPT or EPT violation) that the host has already",
    exits: 1,
    mostInARun: PAGES,
    guest: () => toucher(),
    attach: (vm) => newSlot(vm, BACKING),
  },
  {
    name: "fresh_page",
    what: "the first access to a page of a new memory slot that the host must find first",
    exits: 1,
    mostInARun: PAGES,
    guest: () => toucher(),
    attach: (vm) => newSlot(vm, undefined),
  },
  {
    name: "dirty_log_write",
    what: "the first write to a page since the dirty log was read",
    exits: 1,
    mostInARun: PAGES,
    guest: () => toucher({ dirtyPages: "log", slots: [{ gpa: WINDOW, size: PAGES * PAGE }] }),
    attach: (vm) => ({ before: () => void vm.memory.dirty() }),
  },
  {
    name: "dirty_ring_write",
    what: "the first write to a page since the dirty ring was emptied",
    needs: { dirtyRing: true },
    exits: 1,
    mostInARun: PAGES,
    guest: () => toucher({ dirtyPages: RING, slots: [{ gpa: WINDOW, size: PAGES * PAGE }] }),
    attach: (vm) => ({ before: () => void vm.memory.dirty() }),
  },
];

/** A ring that PML makes no smaller than the pages of a run. */
const RING = { ring: 4096 } as const;

/** Asking which pages were written, when so many were. */
function question(kind: "log" | "ring", pages: number): Benchmark {
  const name = `dirty_${kind}_${pages}`;
  return timedBenchmark({
    name,
    group: "memory",
    what: `which pages were written, by the dirty ${kind}, when ${pages} of ${PAGES} were`,
    lacks: () => requires(kind === "ring" ? { dirtyRing: true } : {}).reason,
    start(cleanup) {
      const dirtyPages = kind === "ring" ? RING : "log";
      const slots = [{ gpa: WINDOW, size: PAGES * PAGE }];
      const machine = cleanup.use(new MeasuredMachine(toucher({ dirtyPages, slots })));
      let dirty: readonly number[];
      return {
        before: () => void machine.run(pages),
        operation: () => void (dirty = machine.vm.memory.dirty()),
        after() {
          const found = dirty.filter((gpa) => gpa >= WINDOW).length;
          if (found !== pages) throw new Error(`${name} found ${found} pages, not ${pages}`);
        },
      };
    },
  });
}

/** Faults of memory. */
export const memoryFaults: readonly Benchmark[] = FAULTS.map(guestBenchmark);

/** Questions for dirty pages. */
export const dirtyPages: readonly Benchmark[] = (["log", "ring"] as const).flatMap((kind) =>
  [1, 16, PAGES].map((pages) => question(kind, pages))
);
