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
  "gates by no vector": [{ gates: { "": 0x600 } }, "it is no vector"],
  "a gate to nothing": [{ gates: { 3: undefined } }, "undefined"],
  "ports that are a promise": [{ ports: Promise.resolve({}) }, "a promise"],
  "addresses from a prototype": [{ mmio: Object.create({ 1: {} }) }, "not its own"],
  "capabilities that are a promise": [{ capabilities: Promise.resolve({}) }, "a promise"],
  "a capability of undefined": [
    { capabilities: { KVM_CAP_X86_DISABLE_EXITS: undefined } },
    "as undefined",
  ],
  "a dirty ring": [{ dirtyPages: { ring: 1024, rnig: 5 } }, "ring"],
  "mappings that are no list": [{ mappings: { linear: 0, size: 0x1000 } }, "give a list"],
  "slots that are no list": [{ slots: new Set() }, "give a list"],
  "SMM that is a list": [{ smm: [] }, "give an object"],
  "an exit port that is a text": [{ exitPort: "0xf4" }, "not a whole number from 0 to 0xffff"],
  "memory that is null": [{ memory: null }, "memory null: leave it out"],
  "an exit port that is null": [{ exitPort: null }, "exitPort null: leave it out"],
  "a CPU's entry that is true": [{ cpus: [{}, { entry: true }] }, "Cannot use true"],
  "a CPU's stack that is true": [
    { cpus: [{}, { stack: true }] },
    "Cannot use true as the stack of CPU 1",
  ],
  "boot information that is true": [
    { convention: "unikernel", bootInformation: true },
    "boot information at true",
  ],
  "a port that is no number": [{ ports: { "": { read: () => 0 } } }, "it is no address"],
  "a time limit that is a text": [{ timeout: "5" }, "Cannot limit a run to 5 ms"],
};

REFUSED["a hole in a list of CPUs"] = [{ cpus: Array(2) }, "give an object"];

for (const [name, [options, message]] of Object.entries(REFUSED)) {
  Deno.test(`${name} with what there is not, or of another type, is refused`, () => {
    assertThrows(() => boot(guest, options as never), Error, message);
  });
}
