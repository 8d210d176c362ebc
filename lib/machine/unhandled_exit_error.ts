import { describeExit } from "../kvm/describe_exit.ts";
import type { Exit } from "../kvm/exit.ts";
import type { Machine } from "./machine.ts";
import { statePage } from "./state_page.ts";

/**
 * The guest caused an exit that no handler answers and no transcript foresees. The machine can be looked at,
 * and run on.
 */
export class UnhandledExitError extends Error {
  /** The name that reporters print. */
  override readonly name = "UnhandledExitError";
  /** The exit. */
  readonly exit: Exit;

  /**
   * The error with the state of the machine at the exit.
   *
   * @param exit What nobody answered.
   */
  constructor(machine: Machine, exit: Exit) {
    super(
      `Nothing answers exit ${machine.log.total}: ${describeExit(exit)}.${remedy(exit)}\n\n${
        statePage(machine)
      }`,
    );
    this.exit = exit;
  }
}

function remedy(exit: Exit): string {
  switch (exit.reason) {
    case "IO": {
      const port = `0x${exit.port.toString(16)}`;
      return exit.direction === "out"
        ? ` Handle it with vm.ports.on(${port}, { write(port, value) {} }), or foresee it in a transcript with portOut(${port}).`
        : ` Handle it with vm.ports.on(${port}, { read: () => 0 }), or foresee it in a transcript with portIn(${port}).returns(0).`;
    }
    case "MMIO": {
      const address = `0x${exit.gpa.toString(16)}`;
      return exit.isWrite
        ? ` No memory slot takes writes there. Handle it with vm.mmio.on(${address}, { write(address, value) {} }), or foresee it in a transcript with mmioWrite(${address}).`
        : ` No memory slot backs it. Handle it with vm.mmio.on(${address}, { read: () => 0 }), or foresee it in a transcript with mmioRead(${address}).returns(0).`;
    }
    default:
      return "";
  }
}
