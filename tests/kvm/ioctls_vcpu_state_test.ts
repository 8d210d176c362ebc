import { MsrError, requires } from "@vmexit/vmexit";
import type { KvmFpu } from "@vmexit/vmexit/abi";
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { ENTRY, levels } from "./levels.ts";

const MSR_STAR = 0xc0000081;
const MSR_LSTAR = 0xc0000082;
const MSR_EFER = 0xc0000080;
const NO_MSR = 0x4fff_0000;
const RSTR_INVALID = 0xffff_ffff_ffff_ffffn;

Deno.test("getRegs, setRegs: read, change, read back", () => {
  using on = levels();
  const { registers } = on.vcpu;
  const before = registers.getRegs();
  assertEquals(before.rip, BigInt(ENTRY));
  registers.setRegs({ ...before, rbx: 0x1234_5678_9abc_def0n });
  assertEquals(registers.getRegs(), { ...before, rbx: 0x1234_5678_9abc_def0n });
});

Deno.test("getSregs, setSregs: read, change, read back", () => {
  using on = levels();
  const { registers } = on.vcpu;
  const before = registers.getSregs();
  registers.setSregs({ ...before, cr2: 0x4000n, cs: { ...before.cs, base: 0x20n } });
  const after = registers.getSregs();
  assertEquals([after.cr2, after.cs.base], [0x4000n, 0x20n]);
});

Deno.test("getSregs2, setSregs2: read, change, read back", () => {
  using on = levels();
  const { registers } = on.vcpu;
  const before = registers.getSregs2();
  assertEquals(before.cs, registers.getSregs().cs);
  registers.setSregs2({ ...before, cr2: 0x5000n });
  assertEquals(registers.getSregs2().cr2, 0x5000n);
});

Deno.test("getDebugregs, setDebugregs: read, change, read back", () => {
  using on = levels();
  const { registers } = on.vcpu;
  const before = registers.getDebugregs();
  registers.setDebugregs({ ...before, db: [0x10n, 0x20n, 0x30n, 0x40n] });
  assertEquals(registers.getDebugregs().db, [0x10n, 0x20n, 0x30n, 0x40n]);
});

Deno.test("translate: without paging, an address is itself", () => {
  using on = levels();
  const { valid, physical_address } = on.vcpu.registers.translate(0x3123);
  assertEquals([valid, physical_address], [1, 0x3123n]);
});

Deno.test("getFpu, setFpu: read, change, read back", () => {
  using on = levels();
  const { fpu } = on.vcpu;
  const before = fpu.getFpu();
  const xmm: Uint8Array[] = before.xmm.map((_, index) => new Uint8Array(16).fill(index));
  const changed: KvmFpu = { ...before, fcw: 0x27f, xmm };
  fpu.setFpu(changed);
  const after = fpu.getFpu();
  assertEquals([after.fcw, after.xmm], [0x27f, xmm]);
});

Deno.test(
  requires(
    { xsave2: true },
    "getXsave, getXsave2, setXsave: the area is as long as KVM_CAP_XSAVE2 says",
  ),
  () => {
    using on = levels();
    const { fpu } = on.vcpu;
    assertGreaterOrEqual(fpu.xsaveSize, 4096);
    const area = fpu.getXsave2();
    assertEquals(area.length, fpu.xsaveSize);
    assertEquals(fpu.getXsave(), area.slice(0, 4096));
    const XMM0 = 160;
    const MXCSR = 24;
    const XSTATE_BV = 512;
    area[MXCSR] = 0xa0;
    area.fill(0x77, XMM0, XMM0 + 16);
    area[XSTATE_BV] |= 0x2;
    fpu.setXsave(area);
    assertEquals(fpu.getFpu().xmm[0], new Uint8Array(16).fill(0x77));
    assertEquals(fpu.getXsave()[MXCSR], 0xa0);
    const message = `Cannot set the XSAVE area from 100 bytes: this KVM takes ${fpu.xsaveSize}`;
    assertThrows(() => fpu.setXsave(area.slice(0, 100)), RangeError, message);
  },
);

Deno.test("getXcrs, setXcrs: XCR0 can be set to what the CPU has", () => {
  using on = levels();
  const { fpu } = on.vcpu;
  assertEquals(fpu.getXcrs().xcrs[0], { xcr: 0, reserved: 0, value: 1n });
  fpu.setXcrs([{ xcr: 0, value: 3n }]);
  assertEquals(fpu.getXcrs().xcrs[0].value, 3n);
});

Deno.test("getMsrs, setMsrs: read, change, read back, more than the kernel takes at once too", () => {
  using on = levels();
  const { msrs } = on.vcpu;
  msrs.setMsrs([{ index: MSR_STAR, data: 0x1234n }, { index: MSR_LSTAR, data: 0x5678 }]);
  const read = msrs.getMsrs([MSR_LSTAR, MSR_STAR, MSR_EFER]);
  assertEquals(read.map(({ data }) => data), [0x5678n, 0x1234n, 0n]);
  const many = new Array<number>(300).fill(MSR_STAR);
  assertEquals(msrs.getMsrs(many).length, 300);
  msrs.setMsrs(many.map((index, at) => ({ index, data: at })));
  assertEquals(msrs.getMsrs([MSR_STAR])[0].data, 299n);
});

Deno.test("setMsrs says which MSR of a list was refused; those before it are set", () => {
  using on = levels();
  const { msrs } = on.vcpu;
  const error = assertThrows(
    () =>
      msrs.setMsrs([{ index: MSR_STAR, data: 7 }, { index: MSR_EFER, data: RSTR_INVALID }, {
        index: MSR_LSTAR,
        data: 9,
      }]),
    MsrError,
    "KVM_SET_MSRS refused MSR 0xc0000080 = 0xffffffffffffffff, 2 of 3",
  );
  assertEquals([error.ioctl, error.index, error.position], ["KVM_SET_MSRS", MSR_EFER, 1]);
  assertEquals(msrs.getMsrs([MSR_STAR, MSR_LSTAR]).map(({ data }) => data), [7n, 0n]);
});

Deno.test("getMsrs says which MSR does not exist, in a long list too", () => {
  using on = levels();
  const list = [...new Array<number>(280).fill(MSR_STAR), NO_MSR, MSR_STAR];
  const error = assertThrows(
    () => on.vcpu.msrs.getMsrs(list),
    MsrError,
    "refused MSR 0x4fff0000, 281 of 282",
  );
  assertEquals(error.position, 280);
});

Deno.test("getCpuid2, setCpuid2: leaves can be edited", () => {
  using on = levels();
  const { cpuid } = on.vcpu;
  const entries = cpuid.getCpuid2();
  const brand = entries.find((entry) => entry.function === 0x80000002);
  assert(brand !== undefined);
  cpuid.setCpuid2(entries.map((entry) => entry === brand ? { ...entry, eax: 0x74696e75 } : entry));
  assertEquals(cpuid.getCpuid2().find((entry) => entry.function === 0x80000002)?.eax, 0x74696e75);
});

Deno.test(
  requires({ hypervCpuid: true }, "getSupportedHvCpuid lists the leaves of Hyper-V"),
  () => {
    using on = levels();
    assertEquals(on.vcpu.cpuid.getSupportedHvCpuid()[0].function, 0x40000000);
  },
);

Deno.test("getNestedState, setNestedState: what was read can be set again", () => {
  using on = levels();
  const { nested } = on.vcpu;
  const state = nested.getNestedState();
  assertEquals(state.data.length, 0, "no guest hypervisor runs a guest");
  nested.setNestedState(state);
  assertEquals(nested.getNestedState(), state);
  assertThrows(
    () => nested.setNestedState({ format: 99 }),
    Error,
    "KVM_SET_NESTED_STATE failed with EINVAL",
  );
});

Deno.test("clock: the TSC's frequency can be asked, its offset set", () => {
  using on = levels();
  const { clock } = on.vcpu;
  assertGreaterOrEqual(clock.getTscKhz(), 1000);
  const offset = clock.getTscOffset();
  clock.setTscOffset(offset - 0x1000_0000n & 0xffff_ffff_ffff_ffffn);
  assertNotEquals(clock.getTscOffset(), offset);
  assert(on.vcpu.attributes.hasDeviceAttr({ group: 0, attr: 0 }));
  assertThrows(
    () => clock.kvmclockCtrl(),
    Error,
    "KVM_KVMCLOCK_CTRL failed with EINVAL (22): the guest has not set up kvmclock",
  );
});
