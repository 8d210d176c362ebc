import { assert, assertEquals, assertThrows } from "@std/assert";
import { asm, boot, type BootOptions, expect, GuestFaultError } from "@vmexit/vmexit";
import { exceptions } from "@vmexit/vmexit/x86";
import { modes } from "../../modes/modes.ts";

const ERROR_CODE = 0x58;

/** The vectors that a host may inject on every processor; traps are an instruction's, and tested with theirs. */
const INJECTED = exceptions.filter(({ kind, vector }) =>
  (kind === "fault" || kind === "abort") && vector < 20
);

/** A mode of each way in which handlers are entered; each vector in each mode would be more of the same. */
const MODES = ["real", "16-bit protected", "virtual-8086", "protected, CPL 3", "PAE", "long"];

for (const { name, options, cpl } of modes.filter((mode) => MODES.includes(mode.name))) {
  Deno.test(`${name}: each vector is told from the others, with and without an error code`, () => {
    using vm = boot(asm`hlt`, { ...options, catchFaults: true } as BootOptions);
    const isReal = options.mode === "real" || options.mode === "unreal";
    const { rsp, rip } = vm.registers;
    for (const { vector, name, hasErrorCode } of INJECTED) {
      const has_error_code = hasErrorCode && !isReal ? 1 : 0;
      const { events } = vm.kvm.vcpu;
      events.setVcpuEvents({
        ...events.getVcpuEvents(),
        exception: {
          injected: 1,
          nr: vector,
          has_error_code,
          pending: 0,
          error_code: has_error_code ? ERROR_CODE : 0,
        },
      });
      const errorCode = has_error_code ? { errorCode: ERROR_CODE } : {};
      expect(vm).toFault(name, { ...errorCode, cpl, rip, software: false });
      assertEquals([vm.fault!.errorCode, vm.registers.rsp], [errorCode.errorCode, rsp], name);
    }
  });

  Deno.test(`${name}: an NMI is told, and the next one is not held back`, () => {
    using vm = boot(asm`nop`, { ...options, catchFaults: true } as BootOptions);
    for (let count = 0; count < 2; count++) {
      vm.kvm.vcpu.events.nmi();
      const error = assertThrows(() => vm.run(), GuestFaultError);
      assertEquals([error.fault.name, error.fault.errorCode], ["NMI", undefined]);
      assert(error.fault.isAt(vm.bootRegisters.rip), error.message);
      assertEquals(vm.registers.rsp, vm.bootRegisters.rsp);
    }
  });
}
