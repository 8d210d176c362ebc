import { boot, Image } from "@vmexit/vmexit";
import { AcpiPmTimer, AcpiPower, Flash, FwCfg, pc, PciBus, piix } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { firmwareFile } from "./firmware_file.ts";

/** Where OVMF puts the power management ports of a PIIX4 (OvmfPkg, `PIIX4_PMBA_VALUE`). */
const PMBA = 0xb000;
const PM_TIMER = PMBA + 8;

const MEMORY = 128 * 2 ** 20;

/** OVMF's first 128 KiB are for its variables (OvmfPkg, `VarStore.fdf.inc`); the rest is code. */
const VARIABLES = 0x2_0000;
/** A variable that its driver makes where there is none. */
const VARIABLE = "CustomMode";

/** Where debuggers look for the system table: EFI_SYSTEM_TABLE_POINTER (UEFI 2.10, 18.4.2). */
const POINTER_ALIGNMENT = 4 * 2 ** 20;

/** EFI_SYSTEM_TABLE, and the offsets of its pointers to the services (UEFI 2.10, 4.3). */
const SYSTEM_TABLE = { SIGNATURE: "IBI SYST", REVISION: 8, RUNTIME: 0x58, BOOT: 0x60 } as const;
const REVISION_2_70 = 2 << 16 | 70;

// Debian builds OVMF as a release: it writes nothing to port 0x402. What it does to the board shows how far it has come.
Deno.test("OVMF comes to its DXE phase: the system table is there, and a driver keeps a variable in flash", async () => {
  const file = await firmwareFile("OVMF.fd");
  const image = Image.fromFile(file.subarray(VARIABLES));
  assertEquals(image.kind, "rom");
  const start = 2 ** 32 - file.length;
  const flash = new Flash({ content: file.subarray(0, VARIABLES), address: start });
  const isThere = () => new TextDecoder("utf-16le").decode(flash.content).includes(VARIABLE);
  assertEquals(isThere(), false);
  using vm = boot(image, {
    memory: { size: MEMORY, holes: "PC" },
    unclaimed: "open-bus",
    timeout: 10_000,
    devices: [
      ...pc({ pmTimer: new AcpiPmTimer({ port: PM_TIMER }), power: new AcpiPower({ base: PMBA }) }),
      new FwCfg(),
      new PciBus([piix()], { resources: "unassigned" }),
      flash,
    ],
  });
  const tables = () =>
    Array.from({ length: MEMORY / POINTER_ALIGNMENT }, (_, index) => index * POINTER_ALIGNMENT)
      .filter((gpa) => vm.memory.string(gpa, SYSTEM_TABLE.SIGNATURE.length) === "IBI SYST");
  assertEquals(tables(), []);
  // A variable is kept by a few hundred commands.
  let driver: bigint | undefined;
  let writes = 0;
  for (const { exit } of vm.exits()) {
    if (exit.reason !== "MMIO" || exit.gpa < start || exit.gpa >= start + VARIABLES) continue;
    driver ??= vm.registers.rip;
    if (++writes % 100 === 0 && isThere()) break;
  }
  assert(isThere(), "no variable was written");
  assert(driver !== undefined && driver >= 2 ** 20 && driver < MEMORY, "no driver, in RAM, wrote");
  const [pointer, ...others] = tables();
  assert(pointer !== undefined);
  assertEquals(others, []);
  const table = Number(vm.memory.u64(pointer + 8));
  assertEquals(vm.memory.string(table, 8), SYSTEM_TABLE.SIGNATURE);
  assertEquals(vm.memory.u32(table + SYSTEM_TABLE.REVISION), REVISION_2_70);
  const services = (offset: number) => vm.memory.string(Number(vm.memory.u64(table + offset)), 8);
  assertEquals(services(SYSTEM_TABLE.RUNTIME), "RUNTSERV");
  assertEquals(services(SYSTEM_TABLE.BOOT), "BOOTSERV");
});
