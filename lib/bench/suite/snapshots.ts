import { asm } from "../../guest/asm.ts";
import { boot } from "../../machine/boot/boot.ts";
import type { Machine } from "../../machine/machine.ts";
import type { Snapshot } from "../../machine/snapshot/snapshot.ts";
import type { Benchmark } from "../benchmark.ts";
import { AS_ON_HARDWARE } from "./as_on_hardware.ts";
import { timedBenchmark } from "./timed.ts";

const PAGE = 0x1000;
/** Where the guest writes: the second half of its 2 MiB. */
const FIRST_PAGE = 0x10_0000;
/** The row of machines that are reset instead of being made: so many pages. */
const RESET_PAGES = 16;

/** So many pages are written between snapshots. */
const PAGES = [1, RESET_PAGES, 256] as const;

/** A machine whose guest writes so many pages and halts. */
function writer(pages: number, cleanup: DisposableStack): Machine {
  return cleanup.use(
    boot(
      asm`
      bits 64
      mov esi, ${FIRST_PAGE}
      mov ecx, ${pages}
    next:
      inc byte [rsi]
      add esi, ${PAGE}
      dec ecx
      jnz next
      hlt
    `,
      AS_ON_HARDWARE,
    ),
  );
}

/** Each of the pages has been written so often. */
function checkPages(vm: Machine, pages: number, expected: number): void {
  for (let page = 0; page < pages; page++) {
    const found = vm.memory.u8(FIRST_PAGE + page * PAGE);
    if (found === expected) continue;
    throw new Error(`Page ${page} of the guest has ${found} instead of ${expected}`);
  }
}

function counted(pages: number): string {
  return pages === 1 ? "1 page was" : `${pages} pages were`;
}

function snapshotting(pages: number): Benchmark {
  return timedBenchmark({
    name: `snapshot_${pages}`,
    group: "life cycle",
    what: `a further vm.snapshot(), when ${counted(pages)} written since the one before`,
    start(cleanup) {
      const vm = writer(pages, cleanup);
      const start = vm.snapshot();
      const { pages: kept } = start;
      let further: Snapshot;
      return {
        before() {
          vm.restore(start);
          vm.run();
        },
        operation: () => void (further = vm.snapshot()),
        after() {
          checkPages(vm, pages, 1);
          const more = further.pages - kept;
          if (more !== pages) throw new Error(`The snapshot has ${more} more pages, not ${pages}`);
        },
      };
    },
  });
}

function restoring(pages: number): Benchmark {
  return timedBenchmark({
    name: `restore_${pages}`,
    group: "life cycle",
    what: `vm.restore(), when ${counted(pages)} written since`,
    start(cleanup) {
      const vm = writer(pages, cleanup);
      const start = vm.snapshot();
      return {
        before() {
          vm.run();
          checkPages(vm, pages, 1);
        },
        operation: () => vm.restore(start),
        after: () => checkPages(vm, pages, 0),
      };
    },
  });
}

/** Snapshots, and what it takes to come back to them. */
export const snapshots: readonly Benchmark[] = [
  timedBenchmark({
    name: "snapshot_first",
    group: "life cycle",
    what: "the first vm.snapshot() of a machine of 2 MiB",
    start(cleanup) {
      let each = new DisposableStack();
      let vm: Machine;
      cleanup.defer(() => each.dispose());
      return {
        before() {
          each = new DisposableStack();
          vm = writer(RESET_PAGES, each);
        },
        operation: () => void vm.snapshot(),
        after: () => each.dispose(),
      };
    },
  }),
  ...PAGES.map(snapshotting),
  ...PAGES.map(restoring),
  timedBenchmark({
    name: "reset",
    group: "life cycle",
    what: `vm.restore() of a machine with ${RESET_PAGES} written pages, and vm.run() to its HLT`,
    start(cleanup) {
      const vm = writer(RESET_PAGES, cleanup);
      const start = vm.snapshot();
      vm.run();
      return {
        operation() {
          vm.restore(start);
          vm.run();
        },
        // Without the restore it would be two.
        after: () => checkPages(vm, RESET_PAGES, 1),
      };
    },
  }),
];
