import { type Needs, requires } from "@vmexit/vmexit";
import { type HostFacts, unmetNeeds } from "../../../lib/machine/host/requires.ts";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ERRNO } from "../../../lib/ffi/errors.ts";
import { askHost } from "../../../lib/machine/host/requires.ts";
import { injected } from "../injected_libc.ts";
import { withCpuidFeatures, withCpuidVendor } from "../../../lib/x86/mod.ts";

function host(facts: Partial<HostFacts> = {}): HostFacts {
  const leaf0 = { function: 0, index: 0, flags: 0, eax: 7, ebx: 0, ecx: 0, edx: 0 };
  return {
    capability: (name) => name === "KVM_CAP_DIRTY_LOG_RING" || name === "KVM_CAP_XSAVE" ? 1 : 0,
    cpuid: withCpuidFeatures(withCpuidVendor([leaf0], "AuthenticAMD"), { svm: true, smep: true }),
    machine: undefined,
    ...facts,
  };
}

const CASES: readonly [needs: Needs, reasons: readonly string[], host?: HostFacts][] = [
  [{}, []],
  [{ svm: true, dirtyLogRing: true, amd: true }, []],
  [{ vmx: true }, ["this host's KVM offers its guests no vmx"]],
  [{ svm: false }, ["this host's KVM offers its guests svm"]],
  [{ vmx: false, la57: false }, []],
  [{ sregs2: true }, ["this host's KVM lacks KVM_CAP_SREGS2"]],
  [{ dirtyLogRing: false }, ["this host's KVM has KVM_CAP_DIRTY_LOG_RING"]],
  [{ x86MsrFilter: true, la57: true }, [
    "this host's KVM lacks KVM_CAP_X86_MSR_FILTER",
    "this host's KVM offers its guests no la57",
  ]],
  // The ioctl is there, the CPU's feature is not.
  [{ xsave: true }, ["this host's KVM offers its guests no xsave"]],
  [{ intel: true }, ["this host's CPU is not Intel's, but AuthenticAMD"]],
  [{ amd: false }, ["this host's CPU is AMD's"]],
  [{ dirtyRing: true }, []],
  [
    { dirtyRing: true },
    ["this host's KVM lacks KVM_CAP_DIRTY_LOG_RING and KVM_CAP_DIRTY_LOG_RING_ACQ_REL"],
    host({ capability: () => 0 }),
  ],
  [{ singleStep: true, interruptsTimeLimit: true }, [], host({ machine: "qemu-svm" })],
  [
    { singleStep: true, interruptsTimeLimit: true },
    [
      "single steps do not trap in this emulated machine (bochs-vmx)",
      "a guest that loops with interrupts off cannot be interrupted in this emulated machine (bochs-vmx)",
    ],
    host({ machine: "bochs-vmx" }),
  ],
  [{ singleStep: false }, [], host({ machine: "bochs-vmx" })],
  [{ interruptShadow: true }, [], host({ machine: "bochs-vmx" })],
  [
    { interruptShadow: true },
    [
      "an exit behind STI lets an interrupt in before the next instruction in this emulated machine (qemu-icount)",
    ],
    host({ machine: "qemu-icount" }),
  ],
];

for (const [needs, reasons, facts = host()] of CASES) {
  const given = Object.entries(needs).map(([name, value]) => `${name}: ${value}`).join(", ");
  Deno.test(`{ ${given} } on ${facts.machine ?? "a host"} is unmet for ${reasons.length} reasons`, () =>
    assertEquals(unmetNeeds(needs, facts), reasons));
}

Deno.test("a name that there is not is refused, whatever the host", () => {
  const asked: [Record<string, boolean>, string][] = [
    [{ dirtyLogRings: true }, "dirtyLogRing"],
    [{ la75: false }, "la57"],
    [{ KVM_CAP_SREGS2: true }, 'Cannot require "KVM_CAP_SREGS2"'],
    [{ itnel: true }, "intel"],
  ];
  for (const [needs, text] of asked) {
    for (const facts of [undefined, host()]) {
      assertThrows(() => unmetNeeds(needs, facts), RangeError, text);
    }
    assertThrows(() => requires(needs, "a test"), RangeError, "the nearest are");
  }
});

Deno.test("a host without KVM cannot be asked, and skips nothing: its tests fail with what to do", () => {
  const withoutKvm = injected(() => ({ open: () => -1, errno: () => ERRNO.ENOENT }));
  assertEquals(askHost(withoutKvm), undefined);
  assertEquals(unmetNeeds({ vmx: true, svm: true, sregs2: true }, undefined), []);
});

Deno.test("a skipped test has its reason behind its name, and another its name alone", () => {
  const before = openHandles();
  assertEquals(requires({ pae: true, setTssAddr: true }, "runs"), { name: "runs", ignore: false });
  const { ignore, reason } = requires({ pae: false });
  assertEquals([ignore, reason], [true, "this host's KVM offers its guests pae"]);
  assertEquals(requires({ pae: false }, "does not"), {
    name: `does not (skipped: ${reason})`,
    ignore: true,
  });
  assertEquals(openHandles(), before);
});

Deno.test(requires({ intel: true, amd: true }, "a CPU of both makers"), () => {
  throw new Error("this test is skipped everywhere");
});

Deno.test("it asks for no permission", async () => {
  const module = new URL("../../../lib/machine/host/requires.ts", import.meta.url);
  const program = `import { requires } from ${JSON.stringify(module.href)};` +
    'console.log(JSON.stringify(requires({ vmx: true, svm: true }, "t")));';
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", file],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)), { name: "t", ignore: false });
    assert(!new TextDecoder().decode(stderr).includes("permission"));
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a need that is undefined is a mistake, not a need less", () => {
  assertThrows(
    () => unmetNeeds({ vmx: undefined }, host()),
    TypeError,
    "Cannot require vmx as undefined",
  );
});

Deno.test("a need is true or false", () => {
  assertThrows(() => unmetNeeds({ vmx: 1 as never }, host()), TypeError, "give true, or false");
});
