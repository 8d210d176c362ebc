import { asm, boot } from "@vmexit/vmexit";
import { assertThrows } from "@std/assert";

const guest = asm`
  bits 64
  hlt
`;

const REFUSED: Record<string, [options: unknown, message: string]> = {
  "a mapping": [{ mappings: [{ linear: 0x4000, size: 0x1000, presnt: false }] }, "present"],
  "a slot": [{ slots: [{ gpa: 0x100_0000, size: "4K", readnoly: true }] }, "readonly"],
  "a CPU": [{ cpus: [{}, { entri: "x" }] }, "entry"],
  "an interleaving": [{ cpus: 2, interleaving: { seed: 1, instrutions: 4 } }, "instructions"],
  "SMM": [{ smm: { handler: guest, bse: 0x40000 } }, "base"],
  "CPUID": [{ cpuid: { hied: ["avx2"] } }, "hide"],
  "CPUID's features as a text": [{ cpuid: { hide: "avx2" } }, "give a list of features"],
  "registers that are a number": [{ registers: 5 }, "give an object"],
  "registers that are a Map": [{ registers: new Map([["rax", 5]]) }, "give an object"],
  "MSRs that are a Map": [{ msrs: new Map([["LSTAR", 5]]) }, "give an object"],
  "gates that are a Map": [{ gates: new Map([[3, 0x600]]) }, "give an object"],
  "a serial line that is a text": [{ serial: "no" }, "give true or false"],
  "a timer that is a text": [{ irqchip: true, pit: "no" }, "give true or false"],
  "large pages that are a text": [{ hugePages: "no" }, "give true or false"],
  "a fault catcher that is a text": [{ catchFaults: "no" }, "give true or false"],
  "a port that is no number": [{ ports: { "": { read: () => 0 } } }, "it is no address"],
  "a time limit that is a text": [{ timeout: "5" }, "Cannot limit a run to 5 ms"],
};

REFUSED["a hole in a list of CPUs"] = [{ cpus: Array(2) }, "give an object"];

for (const [name, [options, message]] of Object.entries(REFUSED)) {
  Deno.test(`${name} with what there is not, or of another type, is refused`, () => {
    assertThrows(() => boot(guest, options as never), Error, message);
  });
}
