import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { AcpiPmTimer } from "./acpi/acpi_pm_timer.ts";
import { AcpiPower } from "./acpi/acpi_power.ts";
import { Cmos } from "./cmos.ts";
import type { Device } from "./device.ts";
import type { Hpet } from "./hpet.ts";
import { I8042 } from "./i8042/i8042.ts";
import { Pic } from "./pic.ts";
import { Pit } from "./pit.ts";
import { PostCodes } from "./post_codes.ts";
import { ResetControl } from "./reset_control.ts";
import { SystemControlPort } from "./system_control.ts";

/** The parts of {@linkcode pc}: one of the test's in place of the usual one, or `false` for none. */
export interface PcOptions {
  /** The interrupt controllers. `false` where the kernel has them (the option `irqchip`). */
  readonly pic?: Pic | false;
  /** The interval timer. `false` where the kernel has it (the option `pit`). */
  readonly pit?: Pit | false;
  /** The real-time clock and its memory. */
  readonly cmos?: Cmos | false;
  /** The keyboard controller. */
  readonly i8042?: I8042 | false;
  /** Port 0x92. */
  readonly systemControl?: SystemControlPort | false;
  /** Port 0xcf9. */
  readonly resetControl?: ResetControl | false;
  /** The ACPI timer. */
  readonly pmTimer?: AcpiPmTimer | false;
  /** ACPI's power management. */
  readonly power?: AcpiPower | false;
  /** Port 0x80. */
  readonly postCodes?: PostCodes | false;
  /** An HPET. Default none. */
  readonly hpet?: Hpet | false;
}

const OPTIONS: NamesOf<PcOptions> = {
  pic: "value",
  pit: "value",
  cmos: "value",
  i8042: "value",
  systemControl: "value",
  resetControl: "value",
  pmTimer: "value",
  power: "value",
  postCodes: "value",
  hpet: "value",
};

/**
 * The devices of a PC, for the option `devices` of `boot`, which takes others beside them: interrupt controllers,
 * interval timer, real-time clock, keyboard controller, ports 0x92 and 0xcf9, ACPI's timer and power management, POST
 * codes. COM1 is there without.
 *
 * @example A PC, and its keyboard
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { I8042, pc, Pic } from "@vmexit/vmexit/devices";
 *
 * const i8042 = new I8042();
 * const pic = new Pic({ vectors: [0x08, 0x70] }); // as its BIOS leaves them
 * using vm = boot(asm`
 *   mov word [0x09 * 4], on_key
 *   mov word [0x09 * 4 + 2], 0
 *   sti
 *   hlt
 *   cli
 *   hlt
 * on_key:
 *   in  al, 0x60
 *   mov bl, al
 *   mov al, 0x20
 *   out 0x20, al
 *   iret
 * `, { devices: pc({ i8042, pic }) });
 * i8042.keyboard.press("Enter");
 * vm.run();
 * console.log(vm.registers.bl); // 28
 * ```
 *
 * @example With the kernel's controllers
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { pc } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`hlt`, { irqchip: true, pit: true, devices: pc({ pic: false, pit: false }) });
 * ```
 */
export function pc(options: PcOptions = {}): Device[] {
  checkOptions("make a PC", options, OPTIONS);
  const {
    pic = new Pic(),
    pit = new Pit(),
    cmos = new Cmos(),
    i8042 = new I8042(),
    systemControl = new SystemControlPort(),
    resetControl = new ResetControl(),
    pmTimer = new AcpiPmTimer(),
    power = new AcpiPower(),
    postCodes = new PostCodes(),
    hpet = false,
  } = options;
  const parts = [
    pic,
    pit,
    cmos,
    i8042,
    systemControl,
    resetControl,
    pmTimer,
    power,
    postCodes,
    hpet,
  ];
  return parts.filter((part) => part !== false);
}
