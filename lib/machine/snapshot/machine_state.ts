import type { AttachedState } from "../buses/attached_devices.ts";
import type { PortRecorder } from "../buses/port_output.ts";
import type { ExitLogState } from "../exits/exit_log.ts";
import type { MemoryImage } from "../memory/physical_memory.ts";
import type { RunState } from "../run/run_progress.ts";
import type { SavedVmState } from "./controllers_state.ts";
import type { SavedCpuState } from "./cpu_state.ts";
import type { HandlerStates } from "./handler_states.ts";

/** All of a machine at some time. */
export interface MachineState {
  /** Its memory. */
  readonly memory: MemoryImage;
  /** Its CPUs, by number. */
  readonly cpus: readonly SavedCpuState[];
  /** What the kernel keeps beside them, and is restored before them. */
  readonly controllers: SavedVmState;
  /** What is restored after them. */
  readonly timers: SavedVmState;
  /** The devices on its board. */
  readonly board: AttachedState;
  /** The state of handlers that have some. */
  readonly handlerStates: HandlerStates;
  /** All handlers, in words. */
  readonly handlers: readonly string[];
  /** How far its guest has come. */
  readonly run: RunState;
  /** The exits that it remembers. */
  readonly log: ExitLogState;
  /** What its guest has written to ports. */
  readonly portOutput: ReturnType<PortRecorder["save"]>;
}
