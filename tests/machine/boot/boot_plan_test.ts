import { asm, type BootOptions, Image } from "@vmexit/vmexit";
import type { Libc } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { planBoot } from "../../../lib/machine/boot/boot_plan.ts";

const HLT = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });

const plan = (options: BootOptions, guest = HLT) => planBoot(guest, options);

Deno.test("a plan without options has every default", () => {
  const { image, state, slots, starts, cpuid, ...rest } = plan({});
  assertEquals([image, state.mode, state.registers.rip], [HLT, "real", 0x500n]);
  const { gpa, size, readonly, content, alias, hugePages } = slots[0];
  assertEquals(
    [slots.length, gpa, size, readonly, content, alias, hugePages],
    [1, 0, 2 ** 20, false, undefined, undefined, false],
  );
  assertEquals(starts, [[]]);
  assertEquals(
    [cpuid.hasLocalApic, cpuid.enablesLocalApic, cpuid.entries, cpuid.show],
    [false, false, undefined, []],
  );
  assertEquals(rest, {
    mode: "real",
    interleaving: undefined,
    timeout: 1000,
    recordExits: 64,
    timeExits: false,
    isTraced: false,
    strict: undefined,
    irqchip: false,
    pit: false,
    serial: true,
    exitPort: undefined,
    faultCatcher: undefined,
    hasSmm: false,
    coverage: false,
    dirtyPages: undefined,
    capabilities: [],
    reuse: undefined,
    loadAddress: undefined,
    msrs: [],
    smm: undefined,
    devices: [],
    clock: undefined,
    hasOpenBus: false,
    restarts: false,
    resetsAtShutdown: false,
    ports: [],
    mmio: [],
  });
});

Deno.test("each option is in the plan in the form in which it is applied", () => {
  const read = plan({
    memory: "64K",
    slots: [
      { gpa: 0x10000, size: "8K", readonly: true, content: "rom" },
      { gpa: 0x20000, size: 0x1000, alias: 0x11000 },
    ],
    dirtyPages: { ring: 512 },
    capabilities: { KVM_CAP_EXIT_HYPERCALL: 1, KVM_CAP_X86_DISABLE_EXITS: [1n] },
    irqchip: true,
    pit: true,
    exitPort: 0xf4,
    serial: false,
    msrs: { LSTAR: 1, 0x12: 2 },
    smm: { handler: 0x500, base: 0 },
    timeout: 50,
    recordExits: 3,
  });
  assertEquals(
    read.slots.map(({ gpa, size, readonly, alias }) => [gpa, size, readonly, alias]),
    [
      [0, 0x10000, false, undefined],
      [0x10000, 0x2000, true, undefined],
      [0x20000, 0x1000, false, 0x11000],
    ],
  );
  assertEquals(read.slots[1].content, new TextEncoder().encode("rom"));
  assertEquals(read.capabilities, [
    { name: "KVM_CAP_EXIT_HYPERCALL", args: [1] },
    { name: "KVM_CAP_X86_DISABLE_EXITS", args: [1n] },
  ]);
  assertEquals(read.msrs, [{ index: 0x12, data: 2n }, { index: 0xc0000082, data: 1n }]);
  assertEquals(
    [read.dirtyPages, read.irqchip, read.pit, read.exitPort, read.serial, read.hasSmm],
    [512, true, true, 0xf4, false, true] as unknown[],
  );
  assertEquals([read.timeout, read.recordExits, read.smm?.base], [50, 3, 0]);
});

Deno.test("CPUs that wait for a SIPI have local APICs, and no registers", () => {
  const { starts, irqchip } = plan({ cpus: 3, registers: { rax: 1 } });
  assertEquals(starts, [[{ rax: 1 }], undefined, undefined]);
  assertEquals(irqchip, true);
  assertEquals(plan({ cpus: 2, irqchip: "split" }).irqchip, "split");
  assertEquals(plan({ cpus: [{}, {}] }).irqchip, false);
});

Deno.test("CPUs of a list start where they are told, what is nearer over what is general", () => {
  const guest = asm`
    hlt
  second:
    hlt
  `;
  const { starts, interleaving } = planBoot(guest, {
    cpus: [{}, { entry: "second", registers: { rax: 2 } }, { stack: 0x900, entry: 0x510 }],
    registers: { rax: 1 },
    interleaving: { seed: 7 },
  });
  assertEquals(starts, [
    [{ rax: 1 }],
    [{ rsp: 0x7800n }, { rax: 1 }, { rip: 0x501n }, { rax: 2 }],
    [{ rax: 1 }, { rsp: 0x900n }, { rip: 0x510n }],
  ]);
  assertEquals(interleaving?.options, { seed: 7 });
});

Deno.test("a unikernel's CPUs are told their numbers", () => {
  const image = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x10000, bits: 64 });
  const options = { mode: "long", convention: "unikernel", cpus: [{}, {}], cpuNumber: 4 } as const;
  const numbers = plan(options, image).starts.map((start) =>
    start!.flatMap(({ rsi }) => rsi ?? [])
  );
  assertEquals(numbers, [[4n], [5n]]);
});

const refused: readonly [options: Record<string, unknown>, message: string][] = [
  [{ memory: 5000 }, "Cannot make the main memory 5000 bytes large"],
  [{ slots: [{ gpa: 0, size: "4K" }] }, "Cannot place slots[0] at 0x0"],
  [{ slots: [{ gpa: 2 ** 21, size: "4K", alias: 2 ** 22 }] }, "Cannot make slots[0] an alias"],
  [
    { slots: [{ gpa: 2 ** 21, size: "4K", content: new Uint8Array(4097) }] },
    "Cannot fill slots[0]",
  ],
  [{ dirtyPages: { ring: 100 } }, "Cannot note dirty pages by"],
  [{ capabilities: { KVM_CAP_X: 1 } }, "there is no capability of that name"],
  [{ irqchip: "all" }, "Cannot boot with irqchip"],
  [{ pit: true }, "Cannot boot with a PIT"],
  [{ cpuid: { hide: ["nx"], show: ["nx"] } }, "Cannot both hide and show"],
  [{ cpuid: { show: ["x2apic"] } }, "x2apic: it needs a local APIC, and the machine has none"],
  [{ cpuid: { brand: "x".repeat(49) } }, "Cannot set"],
  [{ msrs: { LSTAR: -1 } }, "Cannot set LSTAR"],
  [{ timeout: 0 }, "Cannot limit a run to 0 ms"],
  [{ recordExits: 0 }, "Cannot record 0 exits"],
  [{ cpus: 0 }, "Cannot boot 0 CPUs"],
  [{ interleaving: { seed: 1 } }, "Cannot interleave the only CPU"],
  [{ cpus: [{}, {}], interleaving: { seed: -1 } }, "Cannot interleave CPUs by seed -1"],
  [{ cpus: new Array(40).fill({}) }, "Cannot give CPU 31 a stack"],
  [{ smm: { handler: 2 ** 21 } }, "Cannot give the guest an SMM handler"],
  [{ mode: "paged16" }, "Cannot boot in mode"],
  [{ sloots: [] }, "Cannot boot with the option sloots"],
];

for (const [options, message] of refused) {
  Deno.test(`what cannot be is refused by the plan: ${JSON.stringify(options).slice(0, 60)}`, () => {
    const error = assertThrows(() => plan(options as BootOptions), Error, message);
    assert(error instanceof RangeError || error instanceof TypeError, String(error));
  });
}

Deno.test("a plan asks the host nothing", () => {
  const libc = new Proxy({} as Libc, {
    get: (_, name) => assert(false, `the plan has called ${String(name)}`),
  });
  plan({ libc, cpus: 2, dirtyPages: "ring", cpuid: { hide: ["avx2"] } });
});
