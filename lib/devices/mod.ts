/**
 * The board: devices for the option `devices` of `boot`, and what a device of one's own is made of.
 *
 * @module
 */
export { AcpiPmTimer } from "./acpi/acpi_pm_timer.ts";
export { AcpiPower, type AcpiPowerOptions } from "./acpi/acpi_power.ts";
export { acpiTables, type AcpiTablesOptions } from "./acpi/acpi_tables.ts";
export type { AddressRange, Bus } from "./bus.ts";
export type {
  Device,
  DeviceBoard,
  DeviceCpu,
  DeviceMemory,
  DeviceRom,
  InterruptController,
  InterruptLine,
  ShadowAccess,
} from "./device.ts";
export { Disk, SECTOR_SIZE } from "./disk.ts";
export { ExitPort } from "./exit_port.ts";
export { Flash, type FlashOptions } from "./flash.ts";
export {
  FW_CFG_KEY,
  FwCfg,
  type FwCfgContent,
  type FwCfgOptions,
  type WritableFile,
} from "./fw_cfg/fw_cfg.ts";
export { IdeDisk } from "./ata/ide_disk.ts";
export type { LinuxKernel } from "./fw_cfg/linux_kernel.ts";
export type { MmioHandler, NoPromise, PortHandler, StatefulHandler } from "./handlers.ts";
export type {
  FieldBits,
  FieldDefinition,
  FieldName,
  FieldPath,
  RegisterAccessKind,
  RegisterContent,
  RegisterDefinition,
  RegisterDefinitions,
  RegisterMapOptions,
} from "./register_definition.ts";
export { type ExpectedAccess, type RegisterAccess, RegisterMap } from "./register_map.ts";
export { Cmos, type CmosOptions } from "./cmos.ts";
export { DebugConsole } from "./debug_console.ts";
export { Hpet } from "./hpet.ts";
export { I8042 } from "./i8042/i8042.ts";
export type { Keyboard } from "./i8042/keyboard.ts";
export type { Mouse, MouseButton } from "./i8042/mouse.ts";
export { type KeyCode, SCAN_CODE_SEQUENCES, SCAN_CODE_SET_2 } from "./i8042/scan_codes.ts";
export type { Ps2Device } from "./i8042/ps2_device.ts";
export { pc, type PcOptions } from "./pc.ts";
export { Pic, type PicOptions } from "./pic.ts";
export type { PicState } from "./pic_state.ts";
export { Pit } from "./pit.ts";
export { PostCodes } from "./post_codes.ts";
export { ResetControl } from "./reset_control.ts";
export { SystemControlPort } from "./system_control.ts";
export { type Clock, TestClock, type Timers } from "./timers.ts";
export { type Hypercall, Unikernel, type UnikernelOptions } from "./unikernel/hypercalls.ts";
export { type ComPort, type ModemInputs, type SerialError, Uart, type UartPlace } from "./uart.ts";
export { hostBridge } from "./pci/host_bridge.ts";
export { type ConfigRegister, ConfigSpace } from "./pci/config_space.ts";
export { piix } from "./pci/piix.ts";
export { PciBus, type PciBusOptions } from "./pci/pci_bus.ts";
export {
  type PciBar,
  type PciCapability,
  PciFunction,
  type PciFunctionInit,
  type PciHost,
  type PlacedBar,
} from "./pci/pci_function.ts";
export { Bios, type BiosCallRecord, type BiosHandler, type BiosOptions } from "./bios/bios.ts";
export { BiosCall, type BiosRegister, type CallRegister } from "./bios/call.ts";
export {
  type ScreenCell,
  type ScreenPlace,
  TEXT_COLORS,
  type TextColor,
  TextScreen,
} from "./text_screen.ts";
export type { BiosQuirks } from "./bios/quirks.ts";
export { VirtioBlk } from "./virtio/virtio_blk.ts";
export { VirtioConsole } from "./virtio/virtio_console.ts";
export {
  type QueueSetup,
  VIRTIO_FEATURE,
  VIRTIO_STATUS,
  VirtioDevice,
  type VirtioTransport,
} from "./virtio/virtio_device.ts";
export { VirtioMmio, type VirtioMmioOptions } from "./virtio/virtio_mmio.ts";
export { VirtioNet } from "./virtio/virtio_net.ts";
export { VirtioPci, type VirtioPciVersion } from "./virtio/virtio_pci.ts";
export {
  legacyLayout,
  Virtqueue,
  VirtqueueBuffer,
  VirtqueueError,
  type VirtqueueFeatures,
  type VirtqueueLayout,
} from "./virtio/virtqueue.ts";
