export { AssertionError } from "./failure_page.ts";
export { guestTests } from "./guest_tests/guest_tests.ts";
export { expect, type Expectation, type StateExpectation } from "./expect.ts";
export type { CpuTranscripts, TranscriptOptions } from "./matchers/transcript.ts";
export type { RegisterMapExpectation } from "./matchers/register_map.ts";
export type { Answer, ExpectedData } from "./patterns/access_data.ts";
export {
  biosCall,
  type BiosCallPattern,
  type CallRegisters,
  type CallResult,
  int10,
  int13,
  int15,
  int16,
  int1A,
} from "./patterns/bios_call.ts";
export { any, type ExitPattern } from "./patterns/exit_pattern.ts";
export {
  type AnswerableExitPattern,
  anyExit,
  exit,
  type ExitFields,
  hlt,
  init,
  powerOff,
  reset,
  shutdown,
} from "./patterns/exits.ts";
export { fault, type FaultFields } from "./patterns/fault.ts";
export { mmioRead, type MmioReadPattern, mmioWrite } from "./patterns/mmio.ts";
export { rdmsr, type RdmsrPattern, wrmsr, type WrmsrPattern } from "./patterns/msr.ts";
export { portIn, type PortInPattern, portOut } from "./patterns/port.ts";
