/** A driver's test, to copy: one driver against its device as the data sheet has it, and against what hardware does wrong. */
import { asm, boot, expect } from "@vmexit/vmexit";
import { RegisterMap } from "@vmexit/vmexit/devices";

const driver = asm`
  CONTROL equ 0x300
  STATUS  equ 0x301
  DATA    equ 0x302
  START   equ 0x01
  READY   equ 0x80
  FAULT   equ 0x01

  ; Measures once. AL: the value; CF: AL is an error, 1 for a time-out, 2 for a fault of the device.
  measure:
    mov dx, CONTROL
    mov al, START
    out dx, al
    mov dx, STATUS
    mov cx, 1000
  .poll:
    in al, dx
    test al, FAULT
    jnz .fault
    test al, READY
    jnz .ready
    loop .poll
    mov al, 1
    stc
    ret
  .fault:
    mov al, 2
    stc
    ret
  .ready:
    mov dx, DATA
    in al, dx
    clc
    ret
`;

/** The device: what a data sheet says of it. */
function sensor() {
  return new RegisterMap("sensor", {
    port: 0x300,
    registers: {
      CONTROL: { offset: 0, access: "wo", fields: { START: 0 } },
      STATUS: { offset: 1, access: "ro", fields: { READY: 7, FAULT: 0 } },
      DATA: { offset: 2, access: "ro", reset: 0x42 },
    },
    reserved: { seed: 1 }, // what a driver must not care about
  });
}

Deno.test("the driver starts, waits until the sensor is ready, and reads once", () => {
  const device = sensor();
  device.becomes("STATUS.READY", 1, { afterReads: 10 });
  using vm = boot(driver, { devices: [device] });
  vm.call("measure");
  expect(vm).toHaveRegisters({ al: 0x42, rflags: { cf: false } });
  expect(device).toHaveAccessed([
    device.wrote("CONTROL", { START: 1 }),
    device.polled("STATUS", { READY: 1 }),
    device.read("DATA"),
  ]);
});

Deno.test("a sensor that is never ready is a time-out", () => {
  const device = sensor();
  device.stick("STATUS.READY", 0);
  using vm = boot(driver, { devices: [device] });
  vm.call("measure");
  expect(vm).toHaveRegisters({ al: 1, rflags: { cf: true } });
});

Deno.test("a fault ends the wait, and the data are not read", () => {
  const device = sensor();
  device.failOnce("STATUS", { FAULT: 1 });
  using vm = boot(driver, { devices: [device] });
  vm.call("measure");
  expect(vm).toHaveRegisters({ al: 2, rflags: { cf: true } });
  expect(device).toHaveAccessed([device.wrote("CONTROL"), device.read("STATUS", { FAULT: 1 })]);
});

Deno.test("a sensor that is not there reads as ones: the driver takes that for a fault", () => {
  const device = sensor();
  device.float();
  using vm = boot(driver, { devices: [device] });
  vm.call("measure");
  expect(vm).toHaveRegisters({ al: 2, rflags: { cf: true } });
});
