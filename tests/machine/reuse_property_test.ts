import { asm, type AsmSource, boot, type BootOptions, type Machine } from "@vmexit/vmexit";
import { KvmError } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { drainPool, reuseCounts } from "../../lib/machine/boot/kvm_pool.ts";
import { wholeState } from "./snapshot/whole_state.ts";

/** How many dirty machines the property tries. */
const RUNS = 24;

type UnrealOptions = Omit<Extract<BootOptions, { mode: "unreal" }>, "mode">;

const nothing = () => {};

/** What a guest does that is still to be seen afterwards, in real mode. */
const DIRT: Readonly<Record<string, AsmSource>> = {
  "general registers": asm`
    mov esp, 0x12345678
    std
  `,
  "control registers": asm`
    mov eax, cr4
    or eax, 0x6c0
    mov cr4, eax
    mov eax, 0x1234000
    mov cr3, eax
    mov cr2, eax
  `,
  "the task-switched flag": asm`
    mov eax, cr0
    or al, 8
    mov cr0, eax
  `,
  "segments and tables": asm`
    mov ax, 0x40
    mov fs, ax
    mov gs, ax
    lgdt [table]
  `,
  "debug registers": asm`
    mov eax, 0x1234
    mov dr0, eax
    mov dr3, eax
    mov eax, 0xffff0ff0
    mov dr6, eax
  `,
  "x87": asm`
    clts
    fninit
    fldpi
    fldcw [table]
  `,
  "SSE": asm`
    mov eax, cr4
    or eax, 0x200
    mov cr4, eax
    clts
    movups xmm7, [0x500]
    ldmxcsr [mxcsr]
  `,
  "XCR0": asm`
    mov eax, cr4
    or eax, 0x40000
    mov cr4, eax
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
  `,
  "MSRs": asm`
    %macro set 2
      mov ecx, %1
      mov eax, %2
      xor edx, edx
      wrmsr
    %endmacro
    set 0x277, 0x00070406
    set 0x174, 0x1000
    set 0xc0000081, 0x12345678
    set 0xc0000102, 0x12345678
    set 0xc0000103, 7
    set 0x2ff, 0xc06
    set 0x250, 0x06060606
    set 0xc0000080, 1
  `,
  "the TSC": asm`
    mov ecx, 0x10
    xor eax, eax
    mov edx, 0x400000
    wrmsr
  `,
  "kvmclock": asm`
    mov ecx, 0x4b564d01
    mov eax, 0x8001
    xor edx, edx
    wrmsr
  `,
  "memory": asm`
    mov di, 0x9000
    mov cx, 0x3000
    rep stosb
  `,
  "interrupts on": asm`
    sti
    nop
    cli
  `,
};

/** The same with a local APIC and the other controllers. */
const CONTROLLERS: Readonly<Record<string, AsmSource>> = {
  "PICs": asm`
    mov al, 0x11
    out 0x20, al
    out 0xa0, al
    mov al, 0x20
    out 0x21, al
    mov al, 0x28
    out 0xa1, al
  `,
  "a timer of the local APIC": asm`
    mov ecx, 0x1b
    rdmsr
    or eax, 0xc00
    wrmsr
    mov ecx, 0x80f
    xor edx, edx
    mov eax, 0x1ff
    wrmsr
    mov ecx, 0x832
    mov eax, 0x20030
    wrmsr
    mov ecx, 0x838
    mov eax, 0x10000
    wrmsr
  `,
  "an interrupt of its own that waits": asm`
    cli
    mov ecx, 0x1b
    rdmsr
    or eax, 0xc00
    wrmsr
    mov ecx, 0x80f
    xor edx, edx
    mov eax, 0x1ff
    wrmsr
    mov ecx, 0x830
    mov eax, 0x40055
    wrmsr
  `,
};

/** The same with a PIT, and what it shows elsewhere. */
const PIT: Readonly<Record<string, AsmSource>> = {
  "a PIT that interrupts": asm`
    mov al, 0x34
    out 0x43, al
    mov al, 0x10
    out 0x40, al
    out 0x40, al
  `,
  "the speaker and its counter": asm`
    mov al, 0xb6
    out 0x43, al
    mov al, 0x40
    out 0x42, al
    out 0x42, al
    mov al, 3
    out 0x61, al
  `,
};

/** The same with another CPU, which it starts: that goes on where it was, and waits. */
const ANOTHER_CPU: Readonly<Record<string, AsmSource>> = {
  "another CPU that runs": asm`
    %macro send 1
      mov ecx, 0x830
      mov eax, %1
      mov edx, 1
      wrmsr
    %endmacro
    mov ecx, 0x1b
    rdmsr
    or eax, 0xc00
    wrmsr
    mov word [0x2000], 0xf440         ; inc ax, hlt
    send 0x4500
    send 0x4602
    mov cx, 1000
    loop $
  `,
  "another CPU that was asked to begin anew": asm`
    mov ecx, 0x1b
    rdmsr
    or eax, 0xc00
    wrmsr
    mov ecx, 0x830
    mov eax, 0x4500
    mov edx, 1
    wrmsr
  `,
};

/** What a test does to it. */
const BY_TEST: Readonly<Record<string, (vm: Machine) => unknown>> = {
  "registers": (vm) => vm.registers.set({ r15: 5n, dr7: 0x455n, cr8: 3n }),
  "MSRs": (vm) => vm.msrs.set({ IA32_PAT: 0x0606n, IA32_LSTAR: 0x1234n }),
  // QEMU's emulation of SVM does not tell KVM of a guest's XSETBV.
  "XCR0": ({ kvm: { vcpu } }) => vcpu.fpu.setXcrs([{ xcr: 0, value: 3n }]),
  "kvmclock's time": ({ kvm: { vm } }) => vm.clock.setClock({ clock: 1n << 50n }),
  "memory through a view": (vm) => vm.memory.view(0x3000, 8).fill(7),
  "events": ({ kvm: { vcpu: { events } } }) => {
    const now = events.getVcpuEvents();
    events.setVcpuEvents({
      ...now,
      exception: { injected: 1, nr: 13, has_error_code: 1, error_code: 4 },
      nmi: { ...now.nmi, masked: 1, pending: 1 },
    });
  },
  "the interrupt shadow": ({ kvm: { vcpu: { events } } }) => {
    const now = events.getVcpuEvents();
    events.setVcpuEvents({ ...now, interrupt: { ...now.interrupt, shadow: 1 } });
  },
  "a slot": (vm) => vm.memory.addSlot({ gpa: 0x40_0000, size: "4K", content: "left" }),
};

/** Behind its dirt it goes to its end: HLT, or a read that nobody answers. */
function dirtyGuest(pieces: readonly AsmSource[], waits: boolean): AsmSource {
  const all = [...pieces, ...Array.from({ length: 4 - pieces.length }, () => asm`nop`)];
  const [one, two, three, four] = all;
  return asm`
    ${one}
    ${two}
    ${three}
    ${four}
    ${waits ? asm`in al, 0x60` : asm`hlt`}
  table: dw 0x27f
    dd 0x12345
  mxcsr: dd 0x9f80
  `;
}

/** Looks at what it finds, and tells by its exits. */
const PROBE = asm`
  %include "../../guests/include/width.inc"
  out 0x80, eax
  mov ecx, 0x277
  rdmsr
  out 0x80, eax
  mov eax, 1
  cpuid
  mov eax, ecx
  out 0x80, eax
  mov eax, [0x9000]
  out 0x80, eax
  fnstcw [0x9100]
  fnstsw [0x9102]
  mov eax, [0x9100]
  out 0x80, eax
  mov byte [0x9200], 1
  hlt
`;

/** TSCs begin at 0: so many ticks are not over in a test. */
const LONG_AFTER_BOOT = 1n << 44n;

/** All that can be seen of a machine that boots, and of its guest's run. */
function runOf(options: BootOptions): unknown {
  using vm = boot(PROBE, { reuse: true, ...options });
  vm.ports.on(0x80, { write: nothing });
  const booted = stateOf(vm);
  vm.run({ timeout: 5000 });
  return { booted, after: stateOf(vm) };
}

function stateOf(vm: Machine) {
  const { kvm: { vcpu, vm: { clock } }, interruptControllers: { pic, ioapic } } = vm.cpus[0];
  const { cr8, ifFlag, apicBase, readyForInterruptInjection } = vcpu.kvmRun;
  const late = [vcpu.msrs.getMsrs([0x10])[0].data, clock.getClock().clock]
    .map((time) => time < LONG_AFTER_BOOT);
  return {
    ...wholeState(vm),
    // Of several CPUs that run at once each has its own order.
    log: vm.cpus.map(({ number }) =>
      vm.log.records().filter(({ cpu }) => cpu === number).map((each) => ({ ...each, number: 0 }))
    ),
    pic,
    ioapic,
    pit: pitOf(vm),
    late,
    cpuid: vcpu.cpuid.getCpuid2(),
    kvmRun: [cr8, ifFlag, apicBase, readyForInterruptInjection],
  };
}

/** The PIT's state, if there is one, but for when its counters began. */
function pitOf({ kvm: { vm: { pit } } }: Machine) {
  try {
    const { channels, flags } = pit.getPit2();
    return { flags, channels: channels.map((channel) => ({ ...channel, count_load_time: 0n })) };
  } catch (error) {
    if (error instanceof KvmError) return undefined;
    throw error;
  }
}

/** Boots machines of a shape until one was reused, and is disposed again. */
function warmUp(options: BootOptions): void {
  for (let count = 0; count < 3; count++) {
    boot(asm`hlt`, { reuse: true, ...options })[Symbol.dispose]();
  }
}

/** The same as {@linkcode runOf} with the VM of a machine that is dirty. */
function runOnReused(options: BootOptions, dirty: () => void): unknown {
  warmUp(options);
  const { reused } = reuseCounts();
  dirty();
  const run = runOf(options);
  assertEquals(reuseCounts().reused, reused + 2, "both had the VM");
  drainPool();
  return run;
}

type Dirt = Readonly<Record<string, AsmSource>>;

/** Shapes, with what guests may leave in them, and what of it is tried alone: of later ones what is special. */
const SHAPES: readonly (readonly [shape: BootOptions, dirt: Dirt, alone: Dirt])[] = [
  [{}, DIRT, DIRT],
  [{ irqchip: true }, { ...DIRT, ...CONTROLLERS }, { ...DIRT, ...CONTROLLERS }],
  [{ irqchip: true, pit: true }, { ...DIRT, ...CONTROLLERS, ...PIT }, PIT],
  [{ cpus: [{}, {}] }, DIRT, { MSRs: DIRT.MSRs, XCR0: DIRT.XCR0 }],
  [{ cpus: 2 }, { ...DIRT, ...CONTROLLERS, ...ANOTHER_CPU }, ANOTHER_CPU],
  [{ cpuid: { hide: ["sse4_2"], brand: "of a test" } }, DIRT, { SSE: DIRT.SSE }],
];
const MODES = ["real", "unreal", "protected", "pae", "long"] as const;

let tried = 0;

Deno.test(`on a VM that another guest has left dirty, a guest finds and does what it does on a new one (${RUNS} runs)`, () => {
  const names = (all: object) => fc.shuffledSubarray(Object.keys(all), { maxLength: 4 });
  const cases = fc.constantFrom(...SHAPES).chain(([shape, dirt]) => {
    return fc.record({
      shape: fc.constant(shape),
      dirt: names(dirt).map((some) => some.map((name) => dirt[name])),
      byTest: names(BY_TEST),
      waits: fc.boolean(),
      mode: fc.constantFrom(...MODES),
    });
  });
  fc.assert(
    fc.property(cases, ({ shape, dirt, byTest, waits, mode }) => {
      const options = { ...shape, mode } as BootOptions;
      const found = runOnReused(options, () => {
        using vm = boot(
          dirtyGuest(dirt, waits),
          { ...shape, reuse: true, mode: "real" } as BootOptions,
        );
        if (waits) assertThrows(() => vm.run({ timeout: 5000 }), Error, "Nothing answers");
        else vm.run({ timeout: 5000 });
        for (const name of byTest) BY_TEST[name](vm);
      });
      assertEquals(found, runOf({ ...options, reuse: false }));
      tried++;
    }),
    { numRuns: RUNS, seed: 20261128 },
  );
  assertEquals(tried, RUNS);
});

/** Each of them alone, so that nothing hides behind something else. */
for (const [shape, all, dirt] of SHAPES) {
  Deno.test(`whatever it was left with, alone: ${JSON.stringify(shape)}`, () => {
    const fresh = runOf({ ...shape, reuse: false });
    for (const [what, piece] of Object.entries(dirt)) {
      const found = runOnReused(shape, () => {
        using vm = boot(
          dirtyGuest([piece], false),
          { ...shape, reuse: true, mode: "real" } as BootOptions,
        );
        vm.run({ timeout: 5000 });
      });
      assertEquals(found, fresh, what);
    }
    if (dirt !== all) return;
    for (const [what, act] of Object.entries(BY_TEST)) {
      const found = runOnReused(shape, () => {
        using vm = boot(asm`hlt`, { ...shape, reuse: true, mode: "real" } as BootOptions);
        act(vm);
      });
      assertEquals(found, fresh, what);
    }
  });
}

/** Where MSRs are: those of the architecture, AMD's, and how many of them. */
const MSR_RANGES = [[0, 0x1000], [0xc000_0000, 0x400], [0xc001_0000, 0x400], [0xc001_1000, 0x100]];

/**
 * Those that are not looked at: registers, the local APIC's place, what counts time, what has KVM write to memory, and VM_CR,
 * behind which a VM is not kept.
 */
const LEFT_ALONE = [0x10, 0x11, 0x12, 0x1b, 0xc000_0080, 0xc001_0114];

/** Where a guest notes what it has read: nothing of the MSRs that there are none of. */
const FOUND = 0x8000;

/** Has a guest go through some MSRs: it writes to those that there are, or notes what is in them. */
function throughMsrs(first: number, count: number, writes: boolean, options: BootOptions) {
  const [one, two, three, four, five, six] = LEFT_ALONE;
  using vm = boot(
    asm`
      mov di, ${FOUND}
      mov ecx, ${first}
      mov esi, ${count}
    next:
      mov eax, -1
      mov edx, eax
      cmp ecx, ${one}
      je over
      cmp ecx, ${two}
      je over
      cmp ecx, ${three}
      je over
      cmp ecx, ${four}
      je over
      cmp ecx, ${five}
      je over
      cmp ecx, ${six}
      je over
      rdmsr
      mov ebx, eax
      and ebx, edx
      inc ebx
      jz over
    %if ${writes ? 1 : 0}
      %assign bit 0
      %rep 13
        rdmsr
        xor eax, 1 << bit
        wrmsr
      %assign bit bit + 1
      %endrep
    %endif
    over:
      mov [di], eax
      mov [di + 4], edx
      add di, 8
      inc ecx
      dec esi
      jnz next
      hlt
    refused:                  ; both instructions have two bytes
      push bp
      mov bp, sp
      add word [bp + 2], 2
      pop bp
      mov eax, -1
      mov edx, eax
      iret
    `,
    {
      reuse: true,
      mode: "real",
      gates: { 13: "refused" },
      timeout: 20_000,
      ...options,
    } as BootOptions,
  );
  vm.run();
  return Array.from({ length: count }, (_, index) => {
    const value = vm.memory.u64(FOUND + 8 * index);
    return `0x${(first + index).toString(16)}: 0x${value.toString(16)}`;
  });
}

for (const [first, count] of MSR_RANGES) {
  const what = `0x${first.toString(16)} to 0x${(first + count - 1).toString(16)}`;
  Deno.test(`no MSR from ${what} is what a guest has left in it, also one that KVM does not list`, () => {
    warmUp({});
    const { reused } = reuseCounts();
    const written = throughMsrs(first, count, true, {});
    const found = throughMsrs(first, count, false, {});
    assertEquals(reuseCounts().reused, reused + 2);
    drainPool();
    const fresh = throughMsrs(first, count, false, { reuse: false });
    assertEquals(found, fresh);
    if (count > 0x100) assert(written.some((line, index) => line !== fresh[index]));
  });
}

Deno.test.afterAll(() => console.log(`tried with ${tried} dirty machines`));
