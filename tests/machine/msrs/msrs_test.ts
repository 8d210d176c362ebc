import { asm, AssertionError, boot, expect, MsrError } from "@vmexit/vmexit";
import { Kvm, openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { msrName, type MsrValues } from "@vmexit/vmexit/x86";

const LSTAR = 0xc0000082;
/** No CPU has it, and KVM does not know it. */
const NOBODYS = 0x12345;

/** Reads the MSR in ECX into RBX, then writes RSI to it. */
const READ_THEN_WRITE = asm`
  bits 64
  rdmsr
  shl rdx, 32
  or  rax, rdx
  mov rbx, rax
  mov rax, rsi
  mov rdx, rsi
  shr rdx, 32
  wrmsr
  hlt
`;

Deno.test("the guest reads MSRs that the test set, by name and by number, and the test those that it writes", () => {
  using vm = boot(READ_THEN_WRITE, {
    mode: "long",
    msrs: { KERNEL_GS_BASE: 0xffff_8000_1234_5678n, [LSTAR]: 0x1111 },
    registers: { rcx: 0xc0000102, rsi: 0x7fff_abcd_ef01n },
  });
  assertEquals(vm.msrs.get("LSTAR"), 0x1111n);
  assertEquals(vm.msrs.get("IA32_LSTAR"), 0x1111n);
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 0xffff_8000_1234_5678n });
  expect(vm).toHaveMsrs({ KERNEL_GS_BASE: 0x7fff_abcd_ef01n, [LSTAR]: 0x1111n });
  expect(vm).not.toHaveMsrs({ LSTAR: 0 });
});

Deno.test("registers that are MSRs too stay in step with them", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  const { efer } = vm.registers;
  assertEquals(vm.msrs.get("EFER"), efer.value);
  vm.registers.efer.sce = true;
  assertEquals(vm.msrs.get("EFER"), efer.value, "a register that was set is an MSR at once");
  assertEquals(vm.msrs.get("EFER") & 1n, 1n);
  vm.msrs.set({ EFER: vm.msrs.get("EFER") & ~1n });
  assertEquals(vm.registers.efer.sce, false, "and an MSR that was set is a register");
});

Deno.test("toHaveMsrs names each MSR in what it shows", () => {
  using vm = boot(asm`hlt`, { mode: "long", msrs: { LSTAR: 0xabc, STAR: 7 } });
  const error = assertThrows(
    () => expect(vm).toHaveMsrs({ LSTAR: 0x1abc, STAR: 7 }),
    AssertionError,
  );
  assertStringIncludes(error.message, "expect(vm).toHaveMsrs({ LSTAR: 0x1abc, STAR: 0x7 })");
  assertStringIncludes(error.message, "0xc0000082 LSTAR");
  assertStringIncludes(error.message, "0x0abc");
});

Deno.test("KVM stops at the first MSR that it refuses; the error says which are set, and which were not tried", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  const values = { STAR: 0x1234, [NOBODYS]: 1, LSTAR: 5, CSTAR: 6 };
  const error = assertThrows(() => vm.msrs.set(values), MsrError);
  // Numbers come before names among the keys of an object.
  assertEquals([error.index, error.position, error.done], [NOBODYS, 0, []]);
  assertEquals(error.notTried, [0xc0000081, LSTAR, 0xc0000083]);
  assertStringIncludes(error.message, "KVM_SET_MSRS refused MSR 0x12345 = 0x1, 1 of 4");
  assertEquals(vm.msrs.get("STAR"), 0n);

  const outcomes = vm.msrs.setEach({ ...values, IA32_PAT: 0xff });
  assertEquals(
    outcomes.map(({ name, value, refused }) => [name, value, refused === undefined]),
    [
      [undefined, 1n, false],
      ["STAR", 0x1234n, true],
      ["LSTAR", 5n, true],
      ["CSTAR", 6n, true],
      ["IA32_PAT", 0xffn, false],
    ],
  );
  assertStringIncludes(outcomes[4].refused!.message, "MSR 0x277 IA32_PAT = 0xff, 1 of 1");
  expect(vm).toHaveMsrs({ STAR: 0x1234, LSTAR: 5, CSTAR: 6 });
});

Deno.test("an MSR that the vCPU lacks is refused by boot, and nothing is left open", () => {
  const before = openHandles();
  const error = assertThrows(
    () => boot(asm`hlt`, { mode: "long", msrs: { [NOBODYS]: 0 } }),
    MsrError,
    "refused MSR 0x12345 = 0x0",
  );
  assert(error.stack!.split("\n")[1].includes("msrs_test.ts"), error.stack);
  assertEquals(openHandles(), before);
});

const NOT_SET: readonly [what: string, values: unknown, kind: typeof RangeError, text: string][] = [
  [
    "a name that there is not",
    { LSTRA: 1 },
    RangeError,
    'Cannot find an MSR "LSTRA": there is none of that name; the nearest are LSTAR',
  ],
  ["a number of 33 bits", { [2 ** 32]: 1 }, RangeError, "it is not a whole number of 32 bits"],
  [
    "a value of 65 bits",
    { LSTAR: 1n << 64n },
    RangeError,
    "LSTAR as 0x10000000000000000: it is not a whole number of 64 bits",
  ],
  ["a negative value", { LSTAR: -1 }, RangeError, "its two's complement is 0xffffffffffffffff"],
  ["a number beyond 2^53", { LSTAR: 2 ** 60 }, RangeError, "give a bigint"],
  ["a fraction", { LSTAR: 0.5 }, RangeError, "give a bigint"],
  ["a text that is no label", { [LSTAR]: "1" }, RangeError, "Cannot find the symbol 1"],
  [
    "nothing",
    { [LSTAR]: null },
    TypeError,
    "0xc0000082 as null: give a number, a bigint or a label",
  ],
];

for (const [what, values, kind, text] of NOT_SET) {
  Deno.test(`${what} is refused before KVM is asked`, () => {
    using vm = boot(asm`hlt`, { mode: "long" });
    const bad = values as MsrValues;
    for (
      const refused of [
        () => vm.msrs.set({ STAR: 1, ...bad }),
        () => vm.msrs.setEach({ STAR: 1, ...bad }),
        () => expect(vm).toHaveMsrs(bad),
        () => boot(asm`hlt`, { mode: "long", msrs: bad }),
      ]
    ) {
      assertThrows(refused, kind, text);
    }
    assertEquals(vm.msrs.get("STAR"), 0n);
  });
}

Deno.test("MSRs that cannot be read are refused by name", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  assertThrows(() => vm.msrs.get(NOBODYS), MsrError, "KVM_GET_MSRS refused MSR 0x12345, 1 of 1");
  assertThrows(() => vm.msrs.get("MCG_CTRL" as "MCG_CTL"), RangeError, "the nearest are MCG_CTL");
  assertThrows(() => expect(vm).toHaveMsrs({}), TypeError, "none is named");
  vm[Symbol.dispose]();
  assertThrows(
    () => vm.msrs.get("LSTAR"),
    TypeError,
    "Cannot use the MSRs: the machine is disposed",
  );
});

Deno.test("the lists of MSRs have names", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  const list = vm.msrs.list();
  assert(list.some(({ index, name }) => index === LSTAR && name === "LSTAR"));
  assert(list.some(({ name }) => name === "KVM_SYSTEM_TIME_NEW"));
  const nameless = list.filter(({ name }) => name === undefined);
  assert(nameless.length * 10 < list.length, JSON.stringify(nameless));
});

Deno.test("feature MSRs are read by number, and what is none is refused", () => {
  using kvm = Kvm.open();
  const all = kvm.getMsrFeatureIndexList();
  assert(all.some((index) => msrName(index) === "IA32_BIOS_SIGN_ID"));
  assertEquals(kvm.getMsrs(all).map(({ index }) => index), all);
  assertThrows(() => kvm.getMsrs([LSTAR]), MsrError, "refused MSR 0xc0000082");
});
