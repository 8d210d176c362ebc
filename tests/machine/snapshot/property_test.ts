import { asm, type AsmSource, boot, type Exit, type Machine, requires } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { modes, needsOf } from "../../modes/modes.ts";
import { wholeState } from "./whole_state.ts";

/** How many machines of each mode are snapshot at a point by chance. */
const RUNS = 4;

const OWN_INTERRUPT = "an interrupt of its own";

/** What a guest's loop is made of. All of it runs in every mode. */
const PIECES: Readonly<Record<string, AsmSource>> = {
  "a counter in memory": asm`inc xword [counter]`,
  "arithmetic with flags": asm`
    imul xax, xax, 13
    adc xbx, xax
    rol bl, 3
    pushf
    pop xword [counter + 8]
  `,
  "the stack": asm`
    push xax
    push xbx
    pop xax
  `,
  "a byte out": asm`out 0x80, al`,
  "a byte in": asm`
    in al, 0x81
    xor bl, al
  `,
  "a string in and out": asm`
    push xcx
    mov xdi, buffer
    mov xcx, 3
    mov dx, 0x81
    rep insb
    mov xsi, buffer
    mov xcx, 2
    mov dx, 0x80
    rep outsb
    pop xcx
  `,
  "x87": asm`
    fild word [counter]
    faddp st1, st0
    fadd st0, st0
  `,
  "SSE": asm`
    movups xmm0, [counter]
    paddd xmm0, xmm1
    movups xmm1, xmm0
    movups [counter + 16], xmm0
  `,
  "another page": asm`
    mov xdi, far_away
    inc byte [xdi]
  `,
  "CPUID": asm`
    push xbx
    push xcx
    xor eax, eax
    cpuid
    pop xcx
    pop xbx
  `,
  [OWN_INTERRUPT]: asm`int 0x41`,
};

/** The loop, with what it needs before and behind it. */
function guest(pieces: readonly string[]): AsmSource {
  const body = pieces.map((name) => PIECES[name]);
  const [one, two, three, four, five] = [0, 1, 2, 3, 4].map((index) => body[index % body.length]);
  return asm`
    %include "../../../guests/include/width.inc"
    fninit
    fldpi
    mov xcx, 3
  again:
    ${one}
    ${two}
    ${three}
    ${four}
    ${five}
    dec xcx
    jnz again
    out 0xf4, al
  isr:
    inc xword [counter]
    push xax
    out 0x82, al
    pop xax
    xiret
  align 16
  counter: times 32 db 1
  buffer: times 16 db 0
  align 4096
  far_away: db 0
  `;
}

/** A device behind ports, whose answers depend on all that was asked before. */
function device() {
  let state = 1;
  const next = (by: number) => state = (state * 31 + by) & 0xff;
  return {
    read: () => next(1),
    write: (_port: number, value: number) => void next(value),
    save: () => state,
    restore: (saved: unknown) => void (state = saved as number),
  };
}

function steps(vm: Machine, count: number): Exit | undefined {
  for (let done = 0; done < count; done++) {
    const exit = vm.step();
    if (exit.reason !== "DEBUG") return exit;
  }
  return undefined;
}

/** How often the property was tried. */
let tried = 0;

for (const { name, options } of modes) {
  const what =
    `${name}: from a point by chance it goes on the same way, again and again (${RUNS} runs)`;
  // There the handlers are of another width than the code.
  const takesInterrupts = !/^(virtual|compat)/.test(name);
  const pieces = Object.keys(PIECES).filter((each) => takesInterrupts || each !== OWN_INTERRUPT);
  Deno.test(requires({ ...needsOf(options), singleStep: true }, what), () => {
    const points = fc.record({
      pieces: fc.uniqueArray(fc.constantFrom(...pieces), {
        minLength: 5,
        maxLength: 5,
      }),
      before: fc.nat(45),
      between: fc.nat(10),
      interrupt: takesInterrupts ? fc.boolean() : fc.constant(false),
    });
    fc.assert(
      fc.property(points, ({ pieces, before, between, interrupt }) => {
        using vm = boot(guest(pieces), {
          ...options,
          exitPort: 0xf4,
          gates: { 0x40: "isr", 0x41: "isr" },
        });
        vm.registers.cr4.osfxsr = true;
        vm.ports.on([0x80, 0x82], device());
        if (steps(vm, before) !== undefined) return;
        if (interrupt) vm.inject.interrupt(0x40);
        const snapshot = vm.snapshot();
        const then = wholeState(vm);
        const goOn = (count: number) => {
          if (steps(vm, count) !== undefined) return wholeState(vm);
          vm.registers.rflags.if = true;
          vm.run();
          return wholeState(vm);
        };
        const first = goOn(between);
        for (let again = 0; again < 2; again++) {
          vm.restore(snapshot);
          assertEquals(wholeState(vm), then);
          assertEquals(goOn(between), first);
        }
        tried++;
      }),
      { numRuns: RUNS, seed: 20261128 },
    );
  });
}

Deno.test.afterAll(() => console.log(`tried at ${tried} points`));
