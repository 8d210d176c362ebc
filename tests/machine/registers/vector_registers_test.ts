import {
  asm,
  boot,
  type CommonOptions,
  expect,
  HostError,
  type Machine,
  type RegisterValues,
  requires,
} from "@vmexit/vmexit";
import { Kvm, kvmLibc } from "@vmexit/vmexit/kvm";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { linesFrom } from "../../expect/messages.ts";

const EXTENDED_STATE = 0xd;
const SSE: RegisterValues = { cr4: { osfxsr: true, osxmmexcpt: true } };
const AVX: RegisterValues = {
  cr4: { osfxsr: true, osxmmexcpt: true, osxsave: true },
  xcr0: { x87: true, sse: true, avx: true },
};

const halted = (options: CommonOptions = {}): Machine => boot(asm`hlt`, options);

/** A CPU whose CPUID has no leaf 0xD: one without XSAVE. */
function withoutXsave(): CommonOptions {
  using kvm = Kvm.open();
  const entries = kvm.getSupportedCpuid().filter((entry) => entry.function !== EXTENDED_STATE);
  return { cpuid: { entries } };
}

Deno.test("SSE: a guest computes on XMM registers that the test has set", () => {
  using vm = boot(
    asm`
      bits 64
      addps  xmm0, xmm1
      paddq  xmm2, xmm3
      movaps xmm15, xmm2
      hlt
    `,
    {
      registers: {
        ...SSE,
        xmm0: { f32: [1, 2.5, -3, 1] },
        "xmm1.f32": [1, 0.25, 3, 3],
        xmm2: 2n ** 128n - 1n,
        xmm3: 0x1_0000_0000_0000_0002n,
      },
    },
  );
  vm.run();
  expect(vm).toHaveRegisters({
    xmm0: { f32: [2, 2.75, 0, 4] },
    "xmm1.f32": [1, 0.25, 3, 3],
    xmm2: { u64: [1n, 0n] },
    xmm15: 1n,
  });
  assertEquals(vm.registers.xmm0.value, 0x40800000_00000000_40300000_40000000n);
  assertEquals(vm.registers.get("xmm0.u32"), [0x40000000, 0x40300000, 0, 0x40800000]);
  assertEquals(vm.registers.get("xmm15"), 1n);
});

Deno.test(
  requires({ avx: true }, "AVX: a guest computes on YMM registers, whose lower half is XMM"),
  () => {
    using vm = boot(
      asm`
      bits 64
      vpaddd  ymm0, ymm1, ymm2
      vmovapd xmm3, xmm4
      xor     ecx, ecx
      xgetbv
      hlt
    `,
      {
        registers: {
          ...AVX,
          ymm1: { i32: [1, -2, 3, -4, 5, -6, 7, -8] },
          ymm2: { i32: [10, 10, 10, 10, 10, 10, 10, 10] },
          ymm3: 2n ** 256n - 1n,
          ymm4: { f64: [0.5, -0.5, 3, 4] },
        },
      },
    );
    vm.run();
    expect(vm).toHaveRegisters({
      "ymm0.i32": [11, 8, 13, 6, 15, 4, 17, 2],
      xmm0: { i32: [11, 8, 13, 6] },
      ymm3: { f64: [0.5, -0.5, 0, 0] },
      eax: 7,
      "xcr0.avx": true,
      xcr0: 7,
    });
    vm.registers.xmm3.value = 0n;
    assertEquals(vm.registers.ymm4.f64, [0.5, -0.5, 3, 4]);
    assertEquals(vm.registers.ymm3.value, 0n);
  },
);

Deno.test(
  requires(
    { avx: true },
    "XCR0: the guest finds what the test sets, and what KVM cannot have is refused",
  ),
  () => {
    using vm = boot(
      asm`
      bits 64
      xor ecx, ecx
      xgetbv
      hlt
      xgetbv
      hlt
    `,
      { registers: { "cr4.osxsave": true } },
    );
    expect(vm).toHaveRegisters({ xcr0: { x87: true, sse: false } });
    vm.run();
    expect(vm).toHaveRegisters({ eax: 1, edx: 0 });
    vm.registers.set({ xcr0: { sse: true, avx: true } });
    vm.run();
    expect(vm).toHaveRegisters({ eax: 7, edx: 0, xcr0: { x87: true, sse: true, avx: true } });
    assertThrows(() => vm.registers.set({ xcr0: 1n << 60n }), RangeError, "reserved");
    assertThrows(
      () => vm.registers.set({ "xcr0.foo": true } as RegisterValues),
      RangeError,
      '"xcr0.foo"',
    );
    vm.registers.xcr0.x87 = false;
    assertThrows(() => vm.run(), Error, "KVM_SET_XCRS failed with EINVAL (22): XCR0 wants X87");
  },
);

Deno.test("MXCSR and the x87 control word are what the guest finds, and what it leaves", () => {
  using vm = boot(
    asm`
      bits 64
      stmxcsr [0x8000]
      fnstcw  [0x8004]
      fld1
      fldz
      fdivp
      fnstsw  ax
      divss   xmm0, xmm1
      hlt
    `,
    {
      registers: {
        ...SSE,
        mxcsr: 0x9fc0,
        fcw: { im: true, dm: true, zm: true, om: true, um: true, pm: true, pc: 2, rc: 3 },
        xmm0: { f32: [1, 0, 0, 0] },
      },
    },
  );
  vm.run();
  expect(vm).toHaveMemory(0x8000, [0xc0, 0x9f, 0, 0, 0x7f, 0x0e]);
  expect(vm).toHaveRegisters({
    "mxcsr.ze": true,
    "mxcsr.ftz": true,
    mxcsr: { daz: true, zm: true, ie: false, rc: 0 },
    xmm0: { f32: [Infinity, 0, 0, 0] },
    "fsw.ze": true,
    fsw: { top: 7, ie: false },
    st0: Infinity,
    ftw: 0x80,
    fcw: 0xe7f,
  });
  assertEquals(vm.registers.ax, Number(vm.registers.fsw.value));
});

Deno.test("x87 and MMX: what the test puts on the stack is there, by value or as a number", () => {
  using vm = boot(asm`
    bits 64
    fadd  st0, st1
    fsqrt
    hlt
    fninit
    paddw mm1, mm2
    hlt
  `);
  vm.registers.set({ st0: 2.25, st1: 0x4001_c800_0000_0000_0000n });
  assertEquals([vm.registers.ftw, vm.registers.st1.f64], [3, 6.25]);
  vm.run();
  assertAlmostEquals(vm.registers.st0.f64, Math.sqrt(8.5), 1e-15);
  expect(vm).toHaveRegisters({ st1: 6.25, "st1.f64": 6.25, st0: Math.sqrt(8.5) });
  assertEquals(vm.registers.st0.value >> 64n, 0x4000n);
  vm.registers.set({ mm1: { u16: [1, 2, 3, 0xffff] }, mm2: 0x0001_0001_0001_0001n });
  vm.run();
  expect(vm).toHaveRegisters({ mm1: { u16: [2, 3, 4, 0] }, mm2: 0x0001_0001_0001_0001n });
  assertEquals(vm.registers.ftw, 0xff);
});

Deno.test("debug registers: a guest finds them, and its breakpoint is reported in DR6", () => {
  using vm = boot(
    asm`
      bits 64
      mov rax, dr0
      mov rbx, dr3
      mov rcx, dr7
      hlt
      mov rcx, dr7
      xor edx, edx
      mov dr7, rdx
      mov dr7, rcx              ; QEMU's emulation of SVM puts breakpoints in force only here
    spot:
      nop
      hlt
    handler:
      mov rdx, dr6
      mov rcx, dr7
      xor ebx, ebx
      mov dr7, rbx              ; or QEMU would go on to stop other guests there
      hlt
    `,
    {
      gates: { 1: "handler" },
      mode: "long",
      registers: { dr3: 0xffff_8000_0000_1234n, dr7: { ge: true } },
    },
  );
  vm.registers.dr0 = "spot";
  vm.run();
  expect(vm).toHaveRegisters({
    rax: "spot",
    rbx: 0xffff_8000_0000_1234n,
    "dr7.ge": true,
    dr7: { l0: false },
  });
  assertEquals(vm.registers.rcx, vm.registers.dr7.value);
  vm.registers.dr7.l0 = true;
  vm.run();
  expect(vm).toHaveRegisters({ "dr6.b0": true, dr6: { b1: false, bs: false } });
  assertEquals(vm.registers.rdx & 0xfn, 1n);
});

Deno.test(requires({ avx512f: true }, "AVX-512: opmask, ZMM, and XMM16 and above"), () => {
  using vm = halted();
  vm.registers.set({ zmm31: 2n ** 512n - 1n, k1: 5n, zmm0: { f64: [1, 2, 3, 4, 5, 6, 7, 8] } });
  vm.run();
  expect(vm).toHaveRegisters({ k1: 5n, ymm31: 2n ** 256n - 1n, "xmm0.f64": [1, 2] });
});

Deno.test(
  requires({ avx512f: false }, "without AVX-512 its registers are errors that say so"),
  () => {
    using vm = halted();
    for (const name of ["zmm0", "zmm31", "xmm16", "ymm31", "k1"] as const) {
      const missing = `Cannot use ${name}: this machine's CPU has no AVX-512`;
      assertThrows(() => vm.registers[name], HostError, missing);
      const values = { [name]: 1 } as RegisterValues;
      assertThrows(() => vm.registers.set(values), HostError, missing);
      assertThrows(() => expect(vm).toHaveRegisters(values), HostError, missing);
    }
    assertThrows(() => vm.registers.zmm0, HostError, "requires({ avx512f: true })");
    assertThrows(() => vm.registers.xcr0.opmask = true, HostError, "no OPMASK (CPUID leaf 0xD");
  },
);

Deno.test("a CPU without XSAVE has XMM, and refuses YMM, PKRU and XCR0", () => {
  using vm = halted({ ...withoutXsave(), registers: { xmm0: 1n } });
  vm.run();
  expect(vm).toHaveRegisters({ xmm0: 1n, mxcsr: 0x1f80 });
  assertThrows(
    () => vm.registers.ymm0,
    HostError,
    "no AVX (CPUID leaf 0xD does not offer XCR0.AVX)",
  );
  assertThrows(() => vm.registers.pkru, HostError, "no protection keys (PKU)");
  assertThrows(() => vm.registers.set({ "xcr0.sse": true }), HostError, "no X87, SSE");
  assertThrows(() => halted({ ...withoutXsave(), registers: { ymm0: 1n } }), HostError, "ymm0");
});

Deno.test("vectors: values that do not fit, and names that do not exist, are refused", () => {
  using vm = halted();
  const ranges: Record<string, unknown>[] = [
    { xmm0: 2n ** 128n },
    { xmm0: -1n },
    { xmm0: 0.5 },
    { mm0: 2n ** 64n },
    { st0: 2n ** 80n },
    { xmm0: { u8: [1, 2] } },
    { xmm0: { u32: [0, 0, 0, 2 ** 32] } },
    { "xmm0.i8": [128, ...new Array(15).fill(0)] },
    { "xmm0.u64": [0.5, 0] },
    { xmm0: { f16: [] } },
    { "xmm32": 0 },
    { "xmm0.f33": [] },
    { "mxcsr.foo": true },
    { mxcsr: 0x1_0000 },
    { mxcsr: 2 ** 32 },
    { fcw: 0x1_0000 },
    { ftw: 0x100 },
    { fip: 2n ** 64n },
    { dr0: -1 },
    { dr7: 2 ** 32 },
    { dr5: 0 },
    { st8: 0 },
  ];
  for (const values of ranges) {
    const name = Object.keys(values)[0];
    assertThrows(() => vm.registers.set(values as RegisterValues), RangeError, "Cannot", name);
  }
  const types: Record<string, unknown>[] = [
    { xmm0: "1" },
    { xmm0: null },
    { xmm0: { f32: 1 } },
    { xmm0: { f32: [1, 2, 3, "4"] } },
    { st0: true },
    { "st0.f64": 1n },
    { k0: null },
  ];
  for (const values of types) {
    const name = Object.keys(values)[0];
    const kinds = name === "k0" ? Error : TypeError;
    assertThrows(() => vm.registers.set(values as RegisterValues), kinds, "Cannot", name);
  }
  assertThrows(() => (vm.registers.xmm0.u8 as number[])[0] = 1, TypeError);
  assertThrows(
    () => (vm.registers as unknown as Record<string, unknown>).xmmm0,
    RangeError,
    'Cannot find a register "xmmm0": there is none of that name; the nearest are xmm0',
  );
  vm.registers.xmm1.value = 7n;
  assertThrows(() => vm.registers.set({ xmm1: 1n, fcw: 0, xmm2: -1n }), RangeError, "xmm2");
  expect(vm).toHaveRegisters({ xmm1: 7n, fcw: 0x37f });
  assert(Deno.inspect(vm.registers.xmm0).includes("f32"));
});

Deno.test("expecting vectors: the page has the lanes in columns, and what cannot be expected is an error", () => {
  using vm = halted({ registers: { xmm0: { f32: [1, -2.5, 0, -0] }, st0: 1.5 } });
  assertEquals(
    linesFrom(() => expect(vm).toHaveRegisters({ xmm0: { f32: [1, 2, 0, -0] } }), "  xmm0", 3),
    [
      "  xmm0.f32  expected [1,    2, 0, -0]",
      "            received [1, -2.5, 0, -0]",
      "                            ^ lane 1",
    ],
  );
  assertEquals(
    linesFrom(() => expect(vm).toHaveRegisters({ st0: 1.25 }), "expect", 1),
    ["expect(vm).toHaveRegisters({ st0: 1.25 })"],
  );
  expect(vm).not.toHaveRegisters({ "xmm0.f32": [1, -2.5, 0, 0] });
  expect(vm).toHaveRegisters({ "xmm0.i32": [0x3f800000, -0x3fe00000, 0, -0x80000000] });
  const wrong: [Record<string, unknown>, ErrorConstructor, string][] = [
    [{ "xmm0.f32": [1] }, RangeError, "Cannot expect xmm0.f32 from 1 lanes"],
    [{ "xmm0.u8": new Array(16).fill(256) }, RangeError, "Cannot expect xmm0.u8 as 256"],
    [{ "xmm0.f32": 1 }, TypeError, "give a list of its lanes"],
    [{ rax: [1] }, TypeError, "only lanes of vectors are lists"],
    [{ xmm0: 2n ** 128n }, RangeError, "whole number of 128 bits"],
    [{ fcw: 0x10000 }, RangeError, "whole number of 16 bits"],
    [{ st0: 2n ** 80n }, RangeError, "whole number of 80 bits"],
  ];
  for (const [values, kind, message] of wrong) {
    assertThrows(() => expect(vm).toHaveRegisters(values as RegisterValues), kind, message);
  }
});

Deno.test("a run that nobody looks into costs no ioctl for vectors, and a look costs one", () => {
  const calls: string[] = [];
  const real = kvmLibc();
  const names = new Map(Object.values(IOCTLS).map(({ number, name }) => [number, name as string]));
  using vm = boot(
    asm`
    hlt
    hlt
    hlt
  `,
    {
      libc: {
        ...real,
        ioctlBuffer: (fd, request, bytes) => {
          calls.push(names.get(request)!);
          return real.ioctlBuffer(fd, request, bytes);
        },
      },
    },
  );
  const during = (body: () => void) => {
    calls.length = 0;
    body();
    return calls.filter((name) => /XSAVE|XCRS|DEBUGREGS/.test(name));
  };
  assertEquals(during(() => vm.run()), []);
  const looked = during(
    () => [vm.registers.xmm0.value, vm.registers.mxcsr.value, vm.registers.st0],
  );
  assertEquals(looked.length, 1);
  assertEquals(during(() => vm.run()), []);
  assertEquals(during(() => vm.registers.xmm0.value = 1n).length, 1);
  assertEquals(during(() => vm.run()), ["KVM_SET_XSAVE"]);
  assertEquals(vm.registers.xmm0.value, 1n);
});
