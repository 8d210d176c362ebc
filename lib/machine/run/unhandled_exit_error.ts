import { exitText } from "../exits/exit_text.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { answerFields } from "../../kvm/exits/exit_answer.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { ofCpu } from "../report/cpus_section.ts";
import { hex } from "../../x86/hex.ts";
import { msrName } from "../../x86/msr_number.ts";
import { statePage } from "../report/state_page.ts";

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
  constructor(machine: StoppedCpu, exit: Exit) {
    super(
      `Nothing answers exit ${machine.log.total}${ofCpu(machine)}: ${exitText(exit)}.${
        remedy(exit)
      }\n\n${statePage(machine)}`,
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
    case "X86_RDMSR": {
      const msr = msrArgument(exit.index);
      return ` Handle it with vm.msrs.on(${msr}, { read: () => 0 }), or foresee it in a transcript with rdmsr(${msr}).returns(0) or .faults().`;
    }
    case "X86_WRMSR": {
      const msr = msrArgument(exit.index);
      return ` Handle it with vm.msrs.on(${msr}, { write(msr, value) {} }), or foresee it in a transcript with wrmsr(${msr}) or wrmsr(${msr}).faults().`;
    }
    case "FAIL_ENTRY":
    case "INTERNAL_ERROR":
    case "UNKNOWN_TO_VMEXIT":
      return "";
    default: {
      const [field] = answerFields(exit.reason);
      return field === undefined
        ? ` Handle it with vm.on("${exit.reason}", () => {}), or foresee it in a transcript with exit("${exit.reason}").`
        : ` Handle it with vm.on("${exit.reason}", () => ({ ${field}: 0 })), or foresee it in a transcript with exit("${exit.reason}").returns({ … }).`;
    }
  }
}

/** An MSR as a test writes it. */
function msrArgument(index: number): string {
  const name = msrName(index);
  return name === undefined ? hex(index) : `"${name}"`;
}
